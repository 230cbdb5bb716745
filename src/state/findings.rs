//! The planner's answers: `/run/linux_patch_api/findings/`, a file for each question that was asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::pending::{PendingList, VALID_FOR};
use crate::checksum;
use crate::host::clock;
use crate::package::Pending;
use crate::paths::{Paths, quoted};
use crate::sorted;

/// The most answers that are kept.
const KEPT: usize = 128;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Microseconds of uptime when the planner began to look for it: it holds for every question that was
    /// asked before.
    pub began_usec: u64,
    /// When that was.
    pub at: DateTime<Utc>,
    /// What index, package database and configuration were.
    pub fingerprint: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer.
    Found(Found),
    /// It could not be found out, and why.
    Failed(String),
    /// The question cannot be answered for any host like this one, and why.
    Refused(String),
}

/// The answer to a question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What would be done, and what would not.
    #[serde(flatten)]
    pub pending: Pending,
    /// The installed versions of what a plan covers, by `name:architecture`.
    pub installed: BTreeMap<String, String>,
}

impl Findings {
    /// The answer to the question of that name, if there is a usable one.
    #[must_use]
    pub fn load(paths: &Paths, name: &str) -> Option<Self> {
        super::read(&path(paths, name))
    }

    /// Writes the answer. It need not survive a power cut: `/run` does not either.
    pub fn save(&self, paths: &Paths, name: &str) -> Result<()> {
        let path = path(paths, name);
        let written = path.with_extension("new");
        fs::write(&written, serde_json::to_vec(self)?)
            .and_then(|()| fs::rename(&written, &path))
            .with_context(|| format!("failed to write {}", quoted(&path)))
    }

    /// Whether it is an answer that holds at `now`: nothing that it depends on has changed since. A failure
    /// is never one.
    #[must_use]
    pub fn is_valid(&self, fingerprint: &str, now: DateTime<Utc>) -> bool {
        let age = (now - self.at).to_std().ok();
        matches!(self.outcome, Outcome::Found(_))
            && self.fingerprint == fingerprint
            && age.is_some_and(|age| age <= VALID_FOR)
    }

    /// The same answer, looked at again now and found to hold.
    #[must_use]
    pub fn confirmed(self, began_usec: u64) -> Self {
        Self { began_usec, ..self }
    }

    /// As a list of pending updates.
    #[must_use]
    pub fn list(self) -> Option<PendingList> {
        match self.outcome {
            Outcome::Found(found) => Some(PendingList {
                computed_at: Some(self.at),
                fingerprint: Some(self.fingerprint),
                pending: found.pending,
                ..PendingList::default()
            }),
            Outcome::Failed(_) | Outcome::Refused(_) => None,
        }
    }
}

/// What an answer depends on: what the package manager's fingerprint says, and what was rolled back.
#[must_use]
pub fn basis(paths: &Paths, fingerprint: &str) -> String {
    let blocked = fs::read(super::blocked::path(paths)).unwrap_or_default();
    let bytes = [fingerprint.as_bytes(), b"\n", &blocked].concat();
    checksum::sha256(&bytes)
}

/// Microseconds of uptime, by which answers are held against questions.
#[must_use]
pub fn uptime_usec() -> u64 {
    u64::try_from(clock::uptime().as_micros()).unwrap_or(u64::MAX)
}

/// Throws the oldest answers away, beyond those that are kept.
pub fn prune(paths: &Paths) -> Result<()> {
    let directory = paths.findings();
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("failed to read {}", quoted(&directory)))?;
    let dated = |entry: fs::DirEntry| {
        let changed = entry.metadata().and_then(|m| m.modified());
        (changed.unwrap_or(SystemTime::UNIX_EPOCH), entry.path())
    };
    let mut files: Vec<(SystemTime, PathBuf)> = entries.flatten().map(dated).collect();
    sorted::sort(&mut files);
    let old = files.len().saturating_sub(KEPT);
    for (_, path) in &files[..old] {
        fs::remove_file(path).with_context(|| format!("failed to remove {}", quoted(path)))?;
    }
    Ok(())
}

fn path(paths: &Paths, name: &str) -> PathBuf {
    paths.findings().join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(outcome: Outcome) -> Findings {
        Findings {
            began_usec: 1,
            at: clock::now(),
            fingerprint: "a".to_owned(),
            outcome,
        }
    }

    #[test]
    fn an_answer_holds_while_nothing_changes_and_a_failure_never_does() {
        let found = findings(Outcome::Found(Found::default()));
        let late = found.at + chrono::Duration::minutes(31);
        assert!(found.is_valid("a", found.at));
        assert!(!found.is_valid("b", found.at) && !found.is_valid("a", late));
        for outcome in [Outcome::Failed("x".into()), Outcome::Refused("x".into())] {
            let failed = findings(outcome);
            assert!(!failed.is_valid("a", failed.at));
            assert_eq!(failed.list(), None);
        }
    }

    #[test]
    fn only_the_latest_answers_are_kept() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        fs::create_dir_all(paths.findings()).unwrap();
        let found = findings(Outcome::Found(Found::default()));
        for number in 0..KEPT + 3 {
            found.save(&paths, &format!("plan-{number}")).unwrap();
        }
        prune(&paths).unwrap();
        assert_eq!(fs::read_dir(paths.findings()).unwrap().count(), KEPT);
        let last = format!("plan-{}", KEPT + 2);
        assert_eq!(Findings::load(&paths, &last), Some(found));
    }
}
