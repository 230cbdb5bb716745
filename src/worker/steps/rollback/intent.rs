//! What is to be undone, as it stands on the disk: written before the first file changes back, and all that
//! the gate lets through.

use std::io::BufRead;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{create_atomically, remove_durably, write_atomically};
use crate::package::{Change, PackageManager, RollbackItem};
use crate::paths::Paths;
use crate::request::JobId;
use crate::state;
use crate::state::package_store::PackageStore;
use crate::state::verification::Check;

/// What stands in `jobs/<id>.rollback` before the first file changes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Why it is undone.
    pub reason: String,
    /// What is put back, and from where.
    pub former: Vec<RollbackItem>,
    /// When it was begun.
    pub begun_at: DateTime<Utc>,
    /// Which attempt this is: the gate lets only the latest through.
    pub attempt: u32,
    /// What spoke against the update.
    pub checks: Vec<Check>,
    /// Whether another worker has taken over from one that died, which happens once.
    pub resumed: bool,
    /// Packages outside of what is undone that lose files with it, each in the version that it has.
    #[serde(default)]
    pub overwritten: Vec<RollbackItem>,
    /// What stays as the update left it, each from nowhere.
    #[serde(default)]
    pub stays: Vec<RollbackItem>,
    /// The tool below the package manager that is used, because that could not put everything back.
    #[serde(default)]
    pub tool: Option<String>,
}

impl Intent {
    /// The intent of a rollback, if there is one.
    pub fn load(paths: &Paths, job: &JobId) -> Result<Option<Self>> {
        state::try_read(&path(paths, job))
            .map_err(|why| anyhow::anyhow!("what was to be undone cannot be read: {why}"))
    }

    /// Writes it down; an error when the job was undone before.
    pub fn create(&self, paths: &Paths, job: &JobId) -> Result<()> {
        let bytes = serde_json::to_vec(self)?;
        ensure!(
            create_atomically(&path(paths, job), &bytes, 0o640)?,
            "job {job} was undone before",
        );
        Ok(())
    }

    /// Writes down how it stands now.
    pub fn save(&self, paths: &Paths, job: &JobId) -> Result<()> {
        write_atomically(&path(paths, job), &serde_json::to_vec(self)?, 0o640)
    }
}

/// Keeps what a dead worker left running outside the gate; whether there is a rollback at all.
pub fn shut_out_former(paths: &Paths, job: &JobId) -> Result<bool> {
    // without it, the transaction is judged as if no rollback had begun
    let Some(intent): Option<Intent> = state::read_to_change(&path(paths, job)) else {
        return Ok(false);
    };
    let attempt = intent.attempt + 1;
    Intent { attempt, ..intent }.save(paths, job)?;
    Ok(true)
}

/// Takes the intent away: a new transaction of the same job begins.
pub fn forget(paths: &Paths, job: &JobId) -> Result<()> {
    remove_durably(&path(paths, job))
}

/// Reads the change list of a run that puts former versions back, and lets through nothing but that.
pub fn gate(
    paths: &Paths,
    packages: &dyn PackageManager,
    job: &JobId,
    attempt: u32,
    input: &mut dyn BufRead,
) -> Result<()> {
    let changes = packages.change_list(input)?;
    let intent = Intent::load(paths, job)?.context("nothing is to be undone")?;
    ensure!(
        intent.attempt == attempt,
        "refused: another worker has taken this over"
    );
    let former = [&intent.former[..], &intent.overwritten[..]].concat();
    if let Some(why) = foreign_change(&former, &changes) {
        bail!("refused: {why}");
    }
    hold_fetched(paths, &changes);
    Ok(())
}

/// Gives the package files that were fetched another name in the store, where they stay when others clean up:
/// what comes back is held against them.
fn hold_fetched(paths: &Paths, changes: &[Change]) {
    let store = PackageStore::open(paths);
    for file in changes.iter().filter_map(|change| change.file.as_deref()) {
        if let Err(error) = store.hold(file) {
            tracing::warn!("{error:#}");
        }
    }
}

/// What of the change list does not belong to going back: pure.
fn foreign_change(former: &[RollbackItem], changes: &[Change]) -> Option<String> {
    let allowed = |change: &Change| {
        former
            .iter()
            .map(|former| &former.change)
            .any(|undone| undone.former_key() == change.key() && undone.from == change.to)
    };
    let foreign_change = changes.iter().find(|change| !allowed(change))?;
    let (key, to) = (foreign_change.key(), foreign_change.to.as_deref());
    Some(match to {
        Some(to) => format!("{key} {to} does not belong to what is undone"),
        None => format!("{key} would be removed"),
    })
}

fn path(paths: &Paths, job: &JobId) -> PathBuf {
    paths.jobs().join(format!("{job}.rollback"))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::package::RollbackSource;

    pub fn former(package: &str, from: Option<&str>, source: RollbackSource) -> RollbackItem {
        RollbackItem {
            change: Change {
                package: package.into(),
                architecture: "all".into(),
                from: from.map(Into::into),
                to: Some("2".into()),
                file: None,
                ..Change::default()
            },
            source,
        }
    }

    #[test]
    fn nothing_but_what_is_undone_passes_the_gate() {
        let all = [
            former("a", Some("1"), RollbackSource::Archive),
            former("n", None, RollbackSource::NewlyInstalled),
        ];
        let undone: Vec<Change> = all.iter().map(RollbackItem::undone).collect();
        assert_eq!(foreign_change(&all, &undone), None);
        assert_eq!(foreign_change(&all, &undone[..1]), None);
        let removal = Change {
            to: None,
            ..undone[0].clone()
        };
        assert_eq!(
            foreign_change(&all, &[removal]).unwrap(),
            "a:all would be removed"
        );
        let other = Change {
            package: "x".into(),
            ..undone[0].clone()
        };
        assert!(foreign_change(&all, &[other]).unwrap().contains("x:all 1"));
    }
}
