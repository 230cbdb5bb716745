//! Healing what an interrupted transaction left behind: it is made whole in the direction it went.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::arguments::{self, RunOptions};
use super::database::{self, DATABASE};
use super::database_sync::Tree;
use super::locks::{self, LockState};
use crate::package::boot;
use crate::package::repair_step::run_repair_step;
use crate::package::{Change, Observer, PackageState, Problem, sentences};

/// What is wrong with the database: entries that are not whole, and a lock that was left behind.
pub fn problems() -> Result<Vec<Problem>> {
    let mut problems = database::problems(&Path::new(DATABASE).join("local"))?;
    let before_start = || {
        let started = boot::started(Path::new("/"));
        let locked = fs::metadata(locks::LOCK).map(|lock| lock.mtime()).ok();
        locked
            .zip(started)
            .is_some_and(|(lock, start)| lock < start)
    };
    match locks::held(Path::new(locks::LOCK)) {
        LockState::Stale => problems.push(locks::stale().into()),
        LockState::Unknown if before_start() => problems.push(locks::stale().into()),
        LockState::No | LockState::By(_) | LockState::Unknown => {}
    }
    Ok(problems)
}

/// Takes the lock away that the interrupted run left, and installs all it was installing again: its database entries do
/// not tell which files, scriptlets and hooks it had got to. Without a stale lock it came to its end, and only damaged
/// entries are healed. The lock of another program's run stays: what that was about is not known here.
pub fn run(tree: &Tree, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
    let lock = Path::new(locks::LOCK);
    let interrupted = match locks::held(lock) {
        LockState::Stale if !tree.has_begun() => bail!("{}", locks::stale()),
        LockState::Stale => {
            locks::remove(lock)?;
            true
        }
        LockState::No => false,
        LockState::By(holder) => bail!("{holder}"),
        LockState::Unknown => bail!(
            "'{}' exists, and no process appears to hold it",
            lock.display()
        ),
    };
    tree.end()?;
    if changes.is_empty() {
        // it was not through the gate: only its databases were there before it
        tree.restore_unless_used()?;
    }
    let local = PathBuf::from(DATABASE).join("local");
    let damaged = clear_damaged(&local, changes)?;
    if damaged || interrupted && !changes.is_empty() {
        let coming: Vec<&Change> = changes
            .iter()
            .filter(|change| change.to.is_some())
            .collect();
        let files: Vec<PathBuf> = coming
            .iter()
            .filter_map(|change| change.file.clone())
            .collect();
        if files.len() == coming.len() && files.iter().all(|file| file.exists()) {
            run_repair_step(&arguments::install_again(&files), log, observer)?;
        }
        if wrong(&local, changes)?.is_some() {
            let names: Vec<&str> = coming
                .iter()
                .map(|change| change.package.as_str())
                .collect();
            run_repair_step(&arguments::fetch_again(&names), log, observer)?;
        }
        finish_removals(&local, changes, log, observer)?;
        if let Some(wrong) = wrong(&local, changes)? {
            bail!("the package database could not be repaired: {wrong}");
        }
    }
    let problems = database::problems(&local)?;
    ensure!(
        problems.is_empty(),
        "the package database could not be repaired: {}",
        sentences(problems).join("; ")
    );
    Ok(())
}

/// Packages of a rollback that were new and are to go: what is left of them goes now.
fn finish_removals(
    local: &Path,
    changes: &[Change],
    log: &Path,
    observer: &mut dyn Observer,
) -> Result<()> {
    let database = database::read(local)?;
    let going: Vec<&str> = changes
        .iter()
        .filter(|change| change.to.is_none() && database.contains_key(&change.key()))
        .map(|change| change.package.as_str())
        .collect();
    if going.is_empty() {
        return Ok(());
    }
    run_repair_step(
        &arguments::remove(&going, RunOptions::default()),
        log,
        observer,
    )
}

/// Takes directories of these packages away that have no entry in them, or a version that was not planned beside the
/// right one: pacman would go on with neither.
fn clear_damaged(local: &Path, changes: &[Change]) -> Result<bool> {
    let mut cleared = false;
    let directories = database::directories(local)?;
    let name = |directory: &Path| {
        directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    for directory in &directories {
        let full = name(directory);
        let Some((package, version)) = database::split(&full) else {
            continue;
        };
        let Some(change) = changes.iter().find(|change| change.package == package) else {
            continue;
        };
        let twin = directories.iter().any(|other| {
            other != directory
                && database::split(&name(other)).is_some_and(|(other, _)| other == package)
        });
        let text = fs::read_to_string(directory.join("desc")).unwrap_or_default();
        let superfluous = twin && change.to.as_deref() != Some(version);
        if database::Desc::parse(&text).is_none() || superfluous {
            fs::remove_dir_all(directory)
                .with_context(|| format!("failed to remove '{}'", directory.display()))?;
            cleared = true;
        }
    }
    Ok(cleared)
}

/// The first change that is not as intended, in a sentence.
fn wrong(local: &Path, changes: &[Change]) -> Result<Option<String>> {
    let database = database::read(local)?;
    Ok(changes.iter().find_map(|change| {
        let key = change.key();
        match (database.get(&key), &change.to) {
            (None, None) => None,
            (Some(now), Some(to)) if now.version == *to && now.state == PackageState::Good => None,
            (Some(now), _) => Some(format!("{key} is {}", now.version)),
            (None, Some(to)) => Some(format!("{key} {to} is not installed")),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_and_superfluous_entries_of_the_transaction_are_cleared() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("ALPM_DB_VERSION"), "9\n").unwrap();
        let entry = |directory: &str, desc: &str| {
            fs::create_dir(root.path().join(directory)).unwrap();
            fs::write(root.path().join(directory).join("desc"), desc).unwrap();
        };
        entry("demo-1-1", "%NAME%\ndemo\n\n%VERSION%\n1-1\n");
        entry("demo-2-1", "%NAME%\ndemo\n\n%VERSION%\n2-1\n");
        entry("lib-1-1", "");
        entry("stranger-1-1", "");
        let change = |package: &str| Change {
            package: package.into(),
            architecture: "any".into(),
            from: Some("1-1".into()),
            to: Some("2-1".into()),
            file: None,
            ..Change::default()
        };
        let changes = [change("demo"), change("lib")];
        assert!(clear_damaged(root.path(), &changes).unwrap());
        let left: Vec<String> = database::directories(root.path())
            .unwrap()
            .iter()
            .map(|d| d.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(left, ["demo-2-1", "stranger-1-1"]);
        assert_eq!(wrong(root.path(), &changes[..1]).unwrap(), None);
        assert_eq!(
            wrong(root.path(), &changes).unwrap().unwrap(),
            "lib:any 2-1 is not installed"
        );
        assert!(!clear_damaged(root.path(), &changes).unwrap());
    }
}
