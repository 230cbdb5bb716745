//! Healing what an interrupted transaction of rpm left behind.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::database::{self, Contents};
use crate::exec::Program;
use crate::package::repair_step::run_repair_step;
use crate::package::{Change, Observer, PackageId, sentences};

/// Removes the duplicates among these changes: an update that was killed has entered one version and not yet taken the
/// other one away (FACTS 34). Rung by rung, because each may lack what it needs: the same change once more from its
/// file, which also runs the scripts that may not have run; `native`, which fetches the new version again; and at last
/// the removal of the entry that was to go. Other duplicate entries are not of this transaction, and stay.
pub fn run(
    changes: &[Change],
    native: Option<&Program>,
    log: &Path,
    observer: &mut dyn Observer,
) -> Result<()> {
    let contents = database::read()?;
    let duplicates = contents.duplicates();
    let ours = half_installed(changes, &contents);
    for change in &ours {
        let file = change.file.as_ref().filter(|file| file.exists());
        if let Some(file) = file {
            let program = database::install_again(std::slice::from_ref(file));
            run_repair_step(&program, log, observer)?;
        }
    }
    // it looks at the whole database, and keeps the newest of each package
    let of_one = || ours.iter().filter(|c| c.former_architecture.is_none());
    let newest_stay = of_one().all(|change| {
        let entered = duplicates.get(&change.key());
        entered.is_some_and(|versions| versions.last() == change.to.as_ref())
    });
    if let Some(native) = native
        && newest_stay
        && of_one().count() == duplicates.len()
        && !database::read()?.duplicates().is_empty()
    {
        run_repair_step(native, log, observer)?;
    }
    for change in half_installed(changes, &database::read()?) {
        if let Some(from) = &change.from {
            let entry = database::erase_entry(&change.former_key(), from);
            run_repair_step(&entry, log, observer)?;
        }
    }
    let mut contents = database::read()?;
    let mut half_installed = half_installed(changes, &contents).into_iter();
    if let Some(change) = half_installed.find(|change| change.former_architecture.is_some()) {
        bail!(
            "the package database could not be repaired: both {} and {} are entered",
            change.former_key(),
            change.key()
        );
    }
    if !changes.is_empty() {
        let is_ours = |key: &PackageId| changes.iter().any(|change| change.key() == *key);
        contents.entries.retain(|entry| is_ours(&entry.key));
    }
    let problems = sentences(contents.problems());
    ensure!(
        problems.is_empty(),
        "the package database could not be repaired: {}",
        problems.join("; ")
    );
    Ok(())
}

/// The changes of which both versions, and no other, are entered; where the architecture is another one, the
/// package in both.
fn half_installed<'a>(changes: &'a [Change], contents: &Contents) -> Vec<&'a Change> {
    let duplicates = contents.duplicates();
    let is_half = |change: &&Change| {
        let (Some(from), Some(to)) = (&change.from, &change.to) else {
            return false;
        };
        if change.former_architecture.is_some() {
            let is_entered = |key: PackageId, evr: &str| {
                let mut entries = contents.entries.iter();
                entries.any(|entry| entry.key == key && entry.evr == *evr)
            };
            return is_entered(change.former_key(), from) && is_entered(change.key(), to);
        }
        let entered = duplicates.get(&change.key());
        entered.is_some_and(|v| v.len() == 2 && v.contains(from) && v.contains(to))
    };
    changes.iter().filter(is_half).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::rpm::database::RpmEntry;

    #[test]
    fn only_what_we_were_changing_is_touched() {
        let change = |package: &str| Change {
            package: package.into(),
            architecture: "noarch".into(),
            from: Some("1-1".into()),
            to: Some("2-1".into()),
            file: None,
            ..Change::default()
        };
        let moved = Change {
            former_architecture: Some("x86_64".into()),
            ..change("moved")
        };
        let entry = |key: PackageId, evr: &str| RpmEntry {
            key,
            evr: evr.to_owned(),
            build: None,
        };
        let of = |package: &str, evr: &str| entry(change(package).key(), evr);
        let mut contents = Contents {
            entries: vec![
                of("demo", "1-1"),
                of("demo", "2-1"),
                of("driver", "0-1"),
                of("driver", "1-1"),
                of("driver", "2-1"),
                of("stranger", "1-1"),
                of("stranger", "2-1"),
                of("moved", "2-1"),
            ],
            ..Contents::default()
        };
        let changes = [change("demo"), change("driver"), change("tool"), moved];
        assert_eq!(half_installed(&changes, &contents), [&changes[0]]);
        contents.entries.push(entry(changes[3].former_key(), "1-1"));
        assert_eq!(
            half_installed(&changes, &contents),
            [&changes[0], &changes[3]]
        );
        assert!(half_installed(&[], &contents).is_empty());
    }
}
