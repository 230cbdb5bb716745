//! The change list apt hands to `DPkg::Pre-Install-Pkgs` in version 3 of its protocol (apt.conf(5)).

use std::io::{BufRead, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::package::{Change, Rebuilt};
use crate::sorted;

/// The most that is read: 100 000 packages would be a tenth of it.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Parses the whole list: the line `VERSION 3`, apt's configuration, an empty line, and for each
/// action `name old-version old-arch old-multiarch direction new-version new-arch new-multiarch
/// action`, where an absent version and architecture is `-` and the action is a file, `**REMOVE**`
/// or `**CONFIGURE**`. A package that is unpacked and configured later is one change. A list that was
/// cut off is an error: what it does not tell would be changed all the same.
pub fn parse(input: &mut dyn BufRead) -> Result<Vec<Change>> {
    let mut text = String::new();
    let length = input.take(LIMIT).read_to_string(&mut text)?;
    ensure!(!text.is_empty(), "the list is empty");
    ensure!(
        text.ends_with('\n') && (length as u64) < LIMIT,
        "the list is cut off"
    );
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    ensure!(
        version == "VERSION 3",
        "the list is not in version 3 of the protocol: '{version}'"
    );
    ensure!(
        lines.any(str::is_empty),
        "the list is cut off in apt's configuration"
    );
    let mut changes = Vec::new();
    for line in lines {
        if let Some(change) = change(line).with_context(|| format!("in the line '{line}'"))? {
            changes.push(change);
        }
    }
    sorted::sort(&mut changes);
    changes.dedup_by(|later, kept| {
        let same = (&later.package, &later.architecture, &later.from, &later.to)
            == (&kept.package, &kept.architecture, &kept.from, &kept.to);
        if same && kept.file.is_none() {
            kept.file = later.file.take();
        }
        same
    });
    Ok(changes)
}

fn change(line: &str) -> Result<Option<Change>> {
    let fields: Vec<&str> = line.splitn(9, ' ').collect();
    let [name, old, old_arch, _, direction, new, new_arch, _, action] = fields[..] else {
        bail!("it does not have nine fields");
    };
    ensure!(
        fields.iter().all(|field| !field.is_empty()),
        "a field is empty"
    );
    ensure!(
        matches!(direction, "<" | ">" | "="),
        "'{direction}' is not a direction"
    );
    let present = |text: &str| (text != "-").then(|| text.to_owned());
    let (from, to) = (present(old), present(new));
    // configuring what is unpacked already, in the same version, changes no file of the package
    if action == "**CONFIGURE**" && from == to {
        return Ok(None);
    }
    let removal = action == "**REMOVE**";
    let to = to.filter(|_| !removal);
    ensure!(from.is_some() || to.is_some(), "it changes nothing");
    let architecture = if to.is_none() { old_arch } else { new_arch };
    let is_other = from.is_some() && old_arch != architecture;
    let is_rebuilt = from == to && !is_other;
    Ok(Some(Change {
        package: name.to_owned(),
        architecture: architecture.to_owned(),
        former_architecture: is_other.then(|| old_arch.to_owned()),
        from,
        to,
        rebuilt: is_rebuilt.then(Rebuilt::default),
        file: (!action.starts_with("**")).then(|| PathBuf::from(action)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn shown(text: &str) -> String {
        parse(&mut text.as_bytes()).map_or_else(
            |error| format!("error: {error:#}"),
            |changes| {
                let line = |c: &Change| {
                    format!(
                        "{} {:?} {} {:?} -> {:?} {:?}\n",
                        c.package, c.former_architecture, c.architecture, c.from, c.to, c.file
                    )
                };
                changes.iter().map(line).collect()
            },
        )
    }

    #[test]
    fn a_recorded_list() {
        let text = "VERSION 3\nAPT=\nAPT::Architecture=amd64\n\n\
            libnew - - none < 1.0 amd64 same /var/cache/apt/archives/libnew_1.0_amd64.deb\n\
            zlib1g 1:1.3-1+b1 amd64 same < 1:1.3-1+deb13u1 amd64 same /var/cache/apt/archives/zlib1g_1%3a1.3-1+deb13u1_amd64.deb\n\
            zlib1g 1:1.3-1+b1 amd64 same < 1:1.3-1+deb13u1 amd64 same **CONFIGURE**\n\
            gone 1.0 all none > - - none **REMOVE**\n\
            moved 1.0 amd64 none < 1.1 all none /var/cache/apt/archives/moved_1.1_all.deb\n\
            moved 1.0 amd64 none < 1.1 all none **CONFIGURE**\n\
            built 1.0 all none < 1.0 all none /var/cache/apt/archives/built_1.0_all.deb\n\
            built 1.0 all none < 1.0 all none **CONFIGURE**\n\
            half 1.0 all none = 1.0 all none **CONFIGURE**\n";
        expect![[r#"
            built None all Some("1.0") -> Some("1.0") Some("/var/cache/apt/archives/built_1.0_all.deb")
            gone None all Some("1.0") -> None None
            libnew None amd64 None -> Some("1.0") Some("/var/cache/apt/archives/libnew_1.0_amd64.deb")
            moved Some("amd64") all Some("1.0") -> Some("1.1") Some("/var/cache/apt/archives/moved_1.1_all.deb")
            zlib1g None amd64 Some("1:1.3-1+b1") -> Some("1:1.3-1+deb13u1") Some("/var/cache/apt/archives/zlib1g_1%3a1.3-1+deb13u1_amd64.deb")
        "#]]
        .assert_eq(&shown(text));
    }

    #[test]
    fn what_is_not_such_a_list_is_an_error() {
        for text in [
            "",
            "VERSION 2\n",
            "/var/cache/x.deb\n",
            "VERSION 3\n\na b c\n",
            "VERSION 3\n\na 1 b c ? 2 d e f\n",
            "VERSION 3\n\na - b c < - d e /f\n",
            "VERSION 3\n\n 1 b c < 2 d e /f\n",
            "VERSION 3\nAPT=\n",
            "VERSION 3\n\na 1 b c < 2 d e /f\nb 1 b c < 2 d e /var/ca",
        ] {
            assert!(shown(text).starts_with("error: "), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_input_is_survived(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse(&mut &bytes[..]);
            let text = [b"VERSION 3\n\n", &bytes[..]].concat();
            let _ = parse(&mut &text[..]);
        }
    }
}
