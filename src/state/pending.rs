//! `state/updates.json`: what was pending when it was last worked out, and whether that still holds.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::host::clock;
use crate::package::Pending;
use crate::paths::Paths;
use crate::sorted::InOrder;

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
    /// Since when the security update of each package has been kept back without a break.
    #[serde(default)]
    pub kept_since: BTreeMap<String, DateTime<Utc>>,
}

/// Since when something is pending, without a moment at which nothing was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Any update; none while nothing is pending.
    #[serde(default)]
    pub pending_since: Option<DateTime<Utc>>,
    /// A security update.
    #[serde(default)]
    pub pending_security_since: Option<DateTime<Utc>>,
}

/// The whole file.
#[derive(Serialize)]
struct Stored<'a> {
    #[serde(flatten)]
    list: &'a PendingList,
    #[serde(flatten)]
    since: Since,
}

impl Since {
    /// As the file says it.
    #[must_use]
    pub fn load(paths: &Paths) -> Self {
        super::read(&path(paths)).unwrap_or_default()
    }

    /// The same, once this is pending; pure.
    fn with(self, pending: &Pending, now: DateTime<Utc>) -> Self {
        let since = |former: Option<DateTime<Utc>>, is_pending: bool| {
            is_pending.then(|| former.unwrap_or(now))
        };
        let security = pending.updates.iter().any(|update| update.security);
        Self {
            pending_since: since(self.pending_since, !pending.updates.is_empty()),
            pending_security_since: since(self.pending_security_since, security),
        }
    }
}

impl PendingList {
    /// Reads the file, if there is a usable one.
    #[must_use]
    pub fn load(paths: &Paths) -> Option<Self> {
        super::read(&path(paths))
    }

    /// Writes the file, durably and for everybody to read. What the former one says of how long updates have been
    /// kept back is carried on.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        let former = Self::load(paths).unwrap_or_default();
        let list = Self {
            kept_since: self.kept_since_with(&former, clock::now()),
            ..self.clone()
        };
        let since = Since::load(paths).with(&self.pending, clock::now());
        let stored = Stored { list: &list, since };
        write_atomically(&path(paths), &serde_json::to_vec(&stored)?, 0o644)
    }

    /// Since when each security update that is kept back in this list has been kept back: pure.
    fn kept_since_with(
        &self,
        former: &Self,
        now: DateTime<Utc>,
    ) -> BTreeMap<String, DateTime<Utc>> {
        let kept = self.pending.kept_back.iter().filter(|kept| kept.security);
        let since = |package: &String| former.kept_since.get(package).copied().unwrap_or(now);
        kept.map(|kept| (kept.package.clone(), since(&kept.package)))
            .in_order()
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
    use crate::package::{KeptBack, KeptBackCause, Update};

    #[test]
    fn what_is_kept_back_goes_on_to_be_until_it_is_not() {
        let day = |day: u32| format!("2026-01-{day:02}T00:00:00Z").parse().unwrap();
        let keeps = |names: &[&str]| {
            let kept = |name: &&str| {
                KeptBack::new(*name, KeptBackCause::Held, "x").marked(!name.starts_with('-'))
            };
            let kept_back = names.iter().map(kept).collect();
            PendingList {
                pending: Pending {
                    kept_back,
                    ..Pending::default()
                },
                ..PendingList::default()
            }
        };
        let mut list = keeps(&["a", "-b"]);
        list.kept_since = list.kept_since_with(&PendingList::default(), day(1));
        assert_eq!(list.kept_since, [("a".to_owned(), day(1))].into());
        let mut later = keeps(&["a", "c"]);
        later.kept_since = later.kept_since_with(&list, day(2));
        let since = [("a".to_owned(), day(1)), ("c".to_owned(), day(2))];
        assert_eq!(later.kept_since, since.into());
        let gone = keeps(&["c"]).kept_since_with(&later, day(3));
        assert_eq!(gone, [("c".to_owned(), day(2))].into());
    }

    #[test]
    fn a_list_holds_until_something_changes_and_half_an_hour_at_most() {
        let now = clock::now();
        let list = |minutes: i64| PendingList {
            computed_at: Some(now - chrono::Duration::minutes(minutes)),
            fingerprint: Some("a".to_owned()),
            ..PendingList::default()
        };
        assert!(list(29).is_valid("a", now));
        assert!(!list(29).is_valid("b", now));
        assert!(!list(31).is_valid("a", now));
        assert!(!list(-1).is_valid("a", now));
        assert!(list(31).is_for("a"));
        assert!(!PendingList::default().is_valid("a", now));
    }

    #[test]
    fn something_is_pending_since_nothing_was() {
        let (then, now) = (clock::now() - chrono::Duration::hours(1), clock::now());
        let list = |security: &[bool]| Pending {
            updates: security
                .iter()
                .map(|&security| Update {
                    security,
                    ..Update::default()
                })
                .collect(),
            ..Pending::default()
        };
        let first = Since::default().with(&list(&[false]), then);
        assert_eq!(first.pending_since, Some(then));
        assert_eq!(first.pending_security_since, None);
        let more = first.with(&list(&[false, true]), now);
        assert_eq!(more.pending_since, Some(then));
        assert_eq!(more.pending_security_since, Some(now));
        assert_eq!(more.with(&list(&[]), now), Since::default());
    }
}
