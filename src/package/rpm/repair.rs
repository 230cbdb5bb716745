//! Healing what an interrupted transaction of rpm left behind.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

use super::database;
use crate::package::climb::climb;
use crate::package::command::Program;
use crate::package::{Change, Key, Observer, sentences};

/// Removes the duplicates among these changes: an update that was killed has entered one version and not
/// yet taken the other one away (measured for dnf 4 after SIGKILL, for dnf 5 after SIGTERM as well). Rung
/// by rung, because each may lack what it needs: the same change once more from its file, which also runs
/// the scripts that may not have run; `native`, which fetches the new version again; and at last the
/// removal of the entry that was to go. Whatever else is entered twice is not ours to judge, and stays.
pub fn run(
    changes: &[Change],
    native: Option<&Program>,
    log: &Path,
    observer: &mut dyn Observer,
) -> Result<()> {
    let duplicates = database::read()?.duplicates();
    let ours = halves(changes, &duplicates);
    for change in &ours {
        let file = change.file.as_ref().filter(|file| file.exists());
        if let Some(file) = file {
            let program = database::install_again(std::slice::from_ref(file));
            climb(&program, log, observer)?;
        }
    }
    // it looks at the whole database, and keeps the newest of each package
    let newest_stay = ours
        .iter()
        .all(|change| change.to.as_ref() == duplicates[&change.key()].last());
    if let Some(native) = native
        && newest_stay
        && ours.len() == duplicates.len()
        && !database::read()?.duplicates().is_empty()
    {
        climb(native, log, observer)?;
    }
    for change in halves(changes, &database::read()?.duplicates()) {
        if let Some(from) = &change.from {
            climb(&database::erase_entry(&change.key(), from), log, observer)?;
        }
    }
    let mut contents = database::read()?;
    if !changes.is_empty() {
        let is_ours = |key: &Key| changes.iter().any(|change| change.key() == *key);
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

/// The changes of which both versions, and no other, are entered.
fn halves<'a>(changes: &'a [Change], duplicates: &BTreeMap<Key, Vec<String>>) -> Vec<&'a Change> {
    let is_half = |change: &&Change| {
        let (Some(from), Some(to)) = (&change.from, &change.to) else {
            return false;
        };
        let entered = duplicates.get(&change.key());
        entered.is_some_and(|v| v.len() == 2 && v.contains(from) && v.contains(to))
    };
    changes.iter().filter(is_half).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let entered = |package: &str, versions: &[&str]| {
            let versions = versions.iter().map(ToString::to_string).collect();
            (change(package).key(), versions)
        };
        let duplicates = BTreeMap::from([
            entered("demo", &["1-1", "2-1"]),
            entered("driver", &["0-1", "1-1", "2-1"]),
            entered("stranger", &["1-1", "2-1"]),
        ]);
        let changes = ["demo", "driver", "tool"].map(change);
        assert_eq!(halves(&changes, &duplicates), [&changes[0]]);
        assert!(halves(&[], &duplicates).is_empty());
    }
}
