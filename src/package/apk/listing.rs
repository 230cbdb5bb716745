//! What apk prints of changes, failures and repositories: parsed strictly, because what is not understood is
//! not fine.

use anyhow::{Result, bail};

/// A change that apk announces, and then makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The package.
    pub package: String,
    /// The version before, where there was one.
    pub from: Option<String>,
    /// The version after, where there is one.
    pub to: Option<String>,
}

/// Reads a line such as `(1/3) Upgrading demo (1.0-r0 -> 1.1-r0)` (apk's `print_change`); nothing when it
/// does not begin with a count. The name may have a repository's tag behind it, `demo@edge`.
pub fn step(line: &str) -> Result<Option<Step>> {
    let Some(rest) = counted(line) else {
        return Ok(None);
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (action, name, versions) = match words[..] {
        [action, name, version] => (action, name, (version, None)),
        [action, name, from, "->", to] => (action, name, (from, Some(to))),
        _ => bail!("apk printed {line:?}"),
    };
    let plain = |version: &str| version.trim_matches(['(', ')']).to_owned();
    let package = name.split('@').next().unwrap_or(name).to_owned();
    let (from, to) = match (action, versions) {
        ("Installing", (version, None)) => (None, Some(plain(version))),
        ("Purging", (version, None)) => (Some(plain(version)), None),
        // nothing of the package changes
        ("Reinstalling", (version, None)) => (Some(plain(version)), Some(plain(version))),
        ("Upgrading" | "Downgrading" | "Replacing", (from, Some(to))) => {
            (Some(plain(from)), Some(plain(to)))
        }
        _ => bail!("apk printed {line:?}"),
    };
    Ok(Some(Step { package, from, to }))
}

/// What follows `( 1/12) `.
fn counted(line: &str) -> Option<&str> {
    let (count, rest) = line.trim_start().strip_prefix('(')?.split_once(") ")?;
    let (number, total) = count.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(number.trim()) && is_number(total)).then_some(rest)
}

/// All of a simulation. Its last line counts packages, behind `OK:` or, where a package was broken before,
/// `1 error;` (apk 3.0, recorded); without it, it is not whole.
pub fn simulated(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut whole = false;
    for line in text.lines() {
        whole |= line.ends_with(" packages") && (line.starts_with("OK: ") || counts_errors(line));
        steps.extend(step(line)?);
    }
    if !whole {
        bail!("apk's simulation was cut off");
    }
    Ok(steps)
}

fn counts_errors(line: &str) -> bool {
    let (count, rest) = line.split_once(' ').unwrap_or((line, ""));
    count.bytes().all(|b| b.is_ascii_digit())
        && (rest.starts_with("error; ") || rest.starts_with("errors; "))
}

/// The name and version of `name-1.0-r0`.
pub fn split(package: &str) -> Option<(&str, &str)> {
    let (rest, _release) = package.rsplit_once("-r")?;
    let (name, _version) = rest.rsplit_once('-')?;
    Some((name, package.get(name.len() + 1..)?)).filter(|(name, _)| !name.is_empty())
}

/// The repositories of `/etc/apk/repositories`: an address, or a tag and an address.
pub fn repositories(text: &str) -> Vec<String> {
    let address = |line: &str| {
        let line = line.trim();
        let mut words = line.split_whitespace();
        let first = words.next().filter(|word| !word.starts_with('#'))?;
        let address = if first.starts_with('@') {
            words.next()?
        } else {
            first
        };
        Some(address.to_owned())
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let of = |line: &str| {
            let step = step(line).unwrap().unwrap();
            (
                step.package,
                step.from.unwrap_or_default(),
                step.to.unwrap_or_default(),
            )
        };
        let words = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            of("(1/3) Upgrading demo (1.0-r0 -> 1.1-r0)"),
            words("demo", "1.0-r0", "1.1-r0")
        );
        assert_eq!(
            of("( 2/13) Installing libnew@edge (1.0-r0)"),
            words("libnew", "", "1.0-r0")
        );
        assert_eq!(of("(3/3) Purging old (1.0-r0)"), words("old", "1.0-r0", ""));
        for line in [
            "OK: 12 MiB in 3 packages",
            "Executing busybox-1.36.1-r15.trigger",
            "",
        ] {
            assert_eq!(step(line).unwrap(), None, "{line}");
        }
        for line in [
            "(1/1) Frobnicating demo (1)",
            "(1/1) Upgrading demo",
            "(1/1) Updating pinning demo (1)",
        ] {
            assert!(step(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_simulation_that_was_cut_off_is_an_error() {
        let text = "(1/1) Upgrading demo (1.0-r0 -> 1.1-r0)\nOK: 1 MiB in 2 packages\n";
        assert_eq!(simulated(text).unwrap().len(), 1);
        assert!(simulated("(1/1) Upgrading demo (1.0-r0 -> 1.1-r0)\n").is_err());
        assert!(simulated("OK: 1 MiB in 2 packages\n").unwrap().is_empty());
        let broken = "(1/1) Upgrading demo (1.0-r0 -> 1.1-r0)\n1 error; 28 B in 4 packages\n";
        assert_eq!(simulated(broken).unwrap().len(), 1);
    }

    #[test]
    fn names_and_repositories_are_found() {
        assert_eq!(split("lib-x-1.0-r12"), Some(("lib-x", "1.0-r12")));
        assert_eq!(split("demo"), None);
        let text = "# remark\nhttp://a/main\n@edge http://u:p@b/edge\n\n  /srv/local\n";
        assert_eq!(
            repositories(text),
            ["http://a/main", "http://u:p@b/edge", "/srv/local"]
        );
    }
}
