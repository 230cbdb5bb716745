//! Removes old kernels to make room on /boot, and only those that apt's autoremove would remove.

use std::path::Path;

use anyhow::{Result, ensure};

use super::backend::Apt;
use super::{arguments, database, output, simulate};
use crate::package::{Change, Database, Observer, TransactionEnd};

/// What the names of a kernel's packages begin with, before its release.
const PARTS: [&str; 5] = [
    "linux-image-unsigned-",
    "linux-image-",
    "linux-modules-extra-",
    "linux-modules-",
    "linux-headers-",
];

/// Removes the kernels that autoremove would, but for those of the releases in `keep` and held ones. Returns what was
/// removed. An error when apt would remove anything else with them.
pub fn remove(
    apt: &Apt,
    keep: &[String],
    log: &Path,
    observer: &mut dyn Observer,
) -> Result<Vec<Change>> {
    let of = |listed: String| simulate::parse(&listed).map(|listing| listing.removals);
    let unneeded = of(arguments::simulate_autoremove().output_checked()?)?;
    let before = database::installed()?;
    let old: Vec<String> = unneeded
        .into_iter()
        .filter(|name| is_old(name, keep) && !is_held(&before, name))
        .collect();
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let going = of(arguments::simulate_removal(&old).output_checked()?)?;
    let other = going.iter().find(|name| !old.contains(name));
    ensure!(
        other.is_none(),
        "{} would go with old kernels",
        other.map_or("", String::as_str)
    );
    let program = arguments::remove_exactly(&old).log(log);
    let ended = output::supervised(&program, &apt.dpkg, observer)?.ended;
    let gone = gone(&before, &database::installed()?, &old);
    ensure!(
        ended == TransactionEnd::Done || !gone.is_empty(),
        "old kernels could not be removed: {ended:?}"
    );
    Ok(gone)
}

/// Whether a package is part of a kernel of another release than these: pure. A metapackage has none.
fn is_old(name: &str, keep: &[String]) -> bool {
    let name = name.split(':').next().unwrap_or(name);
    let release = PARTS.iter().find_map(|part| name.strip_prefix(part));
    release.is_some_and(|release| {
        release.starts_with(|c: char| c.is_ascii_digit())
            && !keep.iter().any(|kept| is_of(release, kept))
    })
}

/// Whether a package's release is that of a kernel: headers common to all flavours lack the flavour.
fn is_of(release: &str, kernel: &str) -> bool {
    let common = release.strip_suffix("-common").unwrap_or(release);
    kernel == release || kernel.starts_with(&format!("{common}-"))
}

fn is_held(database: &Database, name: &str) -> bool {
    let mut entries = database.iter();
    entries
        .any(|(key, installed)| is_named(&key.package, &key.architecture, name) && installed.held)
}

fn is_named(package: &str, architecture: &str, name: &str) -> bool {
    match name.split_once(':') {
        Some((name, only)) => name == package && only == architecture,
        None => name == package,
    }
}

/// The removals that the database confirms: pure.
fn gone(before: &Database, after: &Database, names: &[String]) -> Vec<Change> {
    let named = |package: &str, architecture: &str| {
        names
            .iter()
            .any(|name| is_named(package, architecture, name))
    };
    let gone = before
        .iter()
        .filter(|(key, _)| named(&key.package, &key.architecture) && !after.contains_key(key));
    gone.map(|(key, installed)| Change {
        package: key.package.clone(),
        architecture: key.architecture.clone(),
        from: Some(installed.version.clone()),
        ..Change::default()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_releases_are_old() {
        let keep = ["6.1.0-25-amd64".to_owned(), "6.1.0-9-amd64".to_owned()];
        for old in [
            "linux-image-6.1.0-18-amd64",
            "linux-image-unsigned-6.1.0-18-amd64",
            "linux-headers-6.1.0-18-common",
            "linux-modules-extra-6.1.0-2-amd64:amd64",
        ] {
            assert!(is_old(old, &keep), "{old}");
        }
        for kept in [
            "linux-image-6.1.0-25-amd64",
            "linux-headers-6.1.0-9-common",
            "linux-headers-6.1.0-9-amd64",
            "linux-image-amd64",
            "linux-libc-dev",
            "demo",
        ] {
            assert!(!is_old(kept, &keep), "{kept}");
        }
    }
}
