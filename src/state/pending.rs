//! `state/updates.json`: what was pending when it was last worked out, and whether that still holds.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::package::Pending;
use crate::paths::Paths;

/// How long a list is good for at most, even when nothing on the host has changed.
pub const VALID_FOR: Duration = Duration::from_secs(30 * 60);

/// A list of pending updates, with what it depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingList {
    /// When it was worked out.
    pub computed_at: Option<DateTime<Utc>>,
    /// The fingerprint of index and package database it was worked out from; none for a list that
    /// was only carried on after an apply.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// The list.
    #[serde(flatten)]
    pub pending: Pending,
}

impl PendingList {
    /// Reads the file, if there is a usable one.
    #[must_use]
    pub fn load(paths: &Paths) -> Option<Self> {
        super::read(&path(paths))
    }

    /// Writes the file, durably and for everybody to read.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&path(paths), &serde_json::to_vec(self)?, 0o644)
    }

    /// Whether index and package database are still those the list was worked out from.
    #[must_use]
    pub fn is_for(&self, fingerprint: &str) -> bool {
        self.fingerprint.as_deref() == Some(fingerprint)
    }

    /// Whether the list may be given out at `now`.
    #[must_use]
    pub fn is_valid(&self, fingerprint: &str, now: DateTime<Utc>) -> bool {
        let age = self.computed_at.and_then(|at| (now - at).to_std().ok());
        self.is_for(fingerprint) && age.is_some_and(|age| age <= VALID_FOR)
    }
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("updates.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock;

    #[test]
    fn a_list_holds_until_something_changes_and_half_an_hour_at_most() {
        let now = clock::now();
        let list = |minutes: i64| PendingList {
            computed_at: Some(now - chrono::Duration::minutes(minutes)),
            fingerprint: Some("a".to_owned()),
            pending: Pending::default(),
        };
        assert!(list(29).is_valid("a", now));
        assert!(!list(29).is_valid("b", now));
        assert!(!list(31).is_valid("a", now));
        assert!(!list(-1).is_valid("a", now));
        assert!(list(31).is_for("a"));
        assert!(!PendingList::default().is_valid("a", now));
    }
}
