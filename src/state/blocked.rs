//! `state/blocked.json`: updates that were rolled back, and are not offered again as they were.

use std::collections::BTreeSet;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fs::write_atomically;
use crate::package::{Change, KeptBack, KeptBackCause, Pending, Update};
use crate::paths::Paths;
use crate::request::JobId;
use crate::sorted::InOrder;

/// How many packages a sentence names.
const NAMED_UPDATES: usize = 5;

/// A set of changes that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The job that had made them.
    pub job: JobId,
    /// When it was rolled back.
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Whether an administrator has asked for it, and no failure of the update.
    #[serde(default)]
    pub by_hand: bool,
    /// The changes.
    pub changes: Vec<Change>,
    /// What a newer version of this program has added.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Block {
    fn is_about(&self, update: &Update) -> bool {
        self.changes
            .iter()
            .any(|change| change.key() == update.key() && brings(change, update))
    }

    /// Why the host is degraded while it stands, if it is: an administrator has asked for the rollback, and with
    /// it for security updates to be kept back. What is kept back is what was last found pending.
    fn taken_back(&self, pending: &Pending) -> Option<String> {
        if !self.by_hand {
            return None;
        }
        // the reason names the job, also that of an update which only needs what was rolled back
        let is_kept_by_this = |kept: &&KeptBack| {
            kept.security
                && kept.cause == Some(KeptBackCause::RolledBack)
                && kept.reason.contains(self.job.as_str())
        };
        let kept = pending.kept_back.iter().filter(is_kept_by_this);
        let names: BTreeSet<&str> = kept.map(|kept| &*kept.package).in_order();
        let shown: Vec<&str> = names.iter().copied().take(NAMED_UPDATES).collect();
        let more = match names.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (updates, are, wait) = match names.len() {
            0 => return None,
            1 => ("update", "is", "waits"),
            _ => ("updates", "are", "wait"),
        };
        let (names, job) = (shown.join(", "), &self.job);
        Some(format!(
            "the security {updates} of {names}{more} {are} kept back, because job {job} was rolled back by hand, \
             and {wait} for a newer version or for 'patchctl forget {job}'"
        ))
    }

    /// One of its packages has another candidate: what was wrong may be right again.
    fn is_over(&self, pending: &Pending) -> bool {
        pending.updates.iter().any(|update| {
            let mut changes = self.changes.iter();
            changes.any(|change| change.key() == update.key() && !brings(change, update))
        })
    }
}

/// Whether the update brings what the change brought: the version, and where both are about builds of one, the
/// build.
fn brings(change: &Change, update: &Update) -> bool {
    let build = change
        .rebuilt
        .as_ref()
        .and_then(|builds| builds.to.as_ref());
    let other = build
        .zip(update.build.as_ref())
        .is_some_and(|(b, u)| b != u);
    change.to.as_ref() == Some(&update.candidate) && !other
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The sets, oldest first.
    pub sets: Vec<Block>,
    /// What a newer version of this program has added.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Blocked {
    /// Reads the file, if there is a usable one.
    #[must_use]
    pub fn load(paths: &Paths) -> Self {
        super::read(&path(paths)).unwrap_or_default()
    }

    /// Reads the file in order to change it: one that is not usable is put aside.
    #[must_use]
    pub fn load_to_change(paths: &Paths) -> Self {
        super::read_to_change(&path(paths)).unwrap_or_default()
    }

    /// Writes the file, durably and for everybody to read.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&path(paths), &serde_json::to_vec(self)?, 0o644)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Takes away the sets that hold no longer; those.
    pub fn lapse(&mut self, pending: &Pending) -> Vec<Block> {
        let (over, sets) = std::mem::take(&mut self.sets)
            .into_iter()
            .partition(|set| set.is_over(pending));
        self.sets = sets;
        over
    }

    /// Takes away the sets of a job; whether there was one.
    pub fn forget(&mut self, job: &JobId) -> bool {
        let before = self.sets.len();
        self.sets.retain(|set| set.job != *job);
        self.sets.len() < before
    }

    /// What is kept back for security because an administrator has asked for a rollback, a sentence for each.
    #[must_use]
    pub fn taken_back(&self, pending: &Pending) -> Vec<String> {
        let sets = self.sets.iter();
        sets.filter_map(|set| set.taken_back(pending)).collect()
    }

    /// Why this update is not offered.
    #[must_use]
    pub fn why(&self, update: &Update) -> Option<String> {
        let set = self.sets.iter().rev().find(|set| set.is_about(update))?;
        let (version, job) = (&update.candidate, &set.job);
        let (build, other) = if update.is_rebuilt() {
            ("this build of ", "another build")
        } else {
            ("", "a newer version")
        };
        Some(format!(
            "{build}{version} was rolled back in job {job} and waits for {other}, or for 'patchctl forget {job}'"
        ))
    }

    /// What is offered: what was rolled back is kept back instead. A package that an update newly needs
    /// goes with it.
    #[must_use]
    pub fn offered(&self, pending: Pending) -> Pending {
        let Pending {
            updates,
            mut kept_back,
        } = pending;
        let offered = |update: &Update| {
            let Some(reason) = self.why(update) else {
                return true;
            };
            let kept = KeptBack::new(&update.package, KeptBackCause::RolledBack, reason)
                .marked(update.security);
            if update.installed.is_some() && !kept_back.contains(&kept) {
                kept_back.push(kept);
            }
            false
        };
        let updates = updates.into_iter().filter(offered).collect();
        Pending { updates, kept_back }
    }
}

/// Where the file is.
#[must_use]
pub fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("blocked.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock;

    fn update(package: &str, candidate: &str) -> Update {
        Update {
            package: package.into(),
            architecture: "all".into(),
            installed: Some("1".into()),
            candidate: candidate.into(),
            origin: String::new(),
            security: false,
            ..Update::default()
        }
    }

    fn pending(updates: &[Update]) -> Pending {
        Pending {
            updates: updates.to_vec(),
            kept_back: Vec::new(),
        }
    }

    #[test]
    fn a_set_holds_until_one_of_it_has_another_candidate() {
        let bad = [update("a", "2"), update("b", "2")];
        let set = Block {
            job: JobId::new().unwrap(),
            at: clock::now(),
            reason: "x".into(),
            by_hand: false,
            changes: bad.iter().map(Change::from).collect(),
            other: Map::new(),
        };
        let mut blocked = Blocked {
            sets: vec![set.clone()],
            other: Map::new(),
        };
        let others = [bad[0].clone(), bad[1].clone(), update("c", "2")];
        assert!(blocked.lapse(&pending(&others)).is_empty());
        assert!(
            blocked.lapse(&pending(&others[2..])).is_empty(),
            "not pending"
        );
        let offered = blocked.offered(pending(&others));
        assert_eq!(offered.updates, [update("c", "2")]);
        assert_eq!(offered.kept_back.len(), 2);
        assert!(offered.kept_back[0].reason.contains("patchctl forget"));
        let newer = pending(&[update("a", "3"), update("b", "2")]);
        assert_eq!(blocked.clone().lapse(&newer).len(), 1);
        assert!(!blocked.forget(&JobId::new().unwrap()));
        assert!(blocked.forget(&set.job) && blocked.is_empty());
    }

    #[test]
    fn a_rollback_by_hand_is_told_while_it_keeps_a_security_update_back() {
        let bad = [
            Update {
                security: true,
                ..update("a", "2")
            },
            update("b", "2"),
        ];
        let mut blocked = Blocked {
            sets: vec![Block {
                job: JobId::new().unwrap(),
                at: clock::now(),
                reason: "x".into(),
                by_hand: true,
                changes: bad.iter().map(Change::from).collect(),
                other: Map::new(),
            }],
            other: Map::new(),
        };
        let told = blocked.taken_back(&blocked.offered(pending(&bad)));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("the security update of a is kept back, because job "),
            "{told:?}"
        );
        let others = blocked.offered(pending(&bad[1..]));
        assert!(blocked.taken_back(&others).is_empty());
        blocked.sets[0].by_hand = false;
        let kept = blocked.offered(pending(&bad));
        assert!(blocked.taken_back(&kept).is_empty(), "an alert tells it");
    }

    #[test]
    fn a_build_waits_and_not_its_version() {
        let of = |build: Option<&str>| Update {
            build: build.map(Into::into),
            ..update("a", "1")
        };
        let change = Change::from(&of(Some("x")));
        assert!(brings(&change, &of(Some("x"))) && brings(&change, &of(None)));
        assert!(!brings(&change, &of(Some("y"))) && !brings(&change, &update("a", "2")));
        let newer = Change::from(&update("a", "2"));
        assert!(brings(&newer, &update("a", "2")));
    }
}
