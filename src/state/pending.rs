//! `state/updates.json`: what was pending when it was last worked out, and whether that still holds.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::host::clock;
use crate::package::{Pending, Update};
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
    /// Since when candidates were pending of packages that are kept back now, by `package:architecture=version`: they
    /// may become pending again.
    #[serde(default)]
    pub first_seen: BTreeMap<String, DateTime<Utc>>,
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

    /// Writes the file, durably and for everybody to read; the list as it was written. What the former one says of
    /// how long updates have been pending and kept back is carried on.
    pub fn save(self, paths: &Paths) -> Result<Self> {
        let (former, now) = (Self::load(paths).unwrap_or_default(), clock::now());
        let list = Self {
            kept_since: self.kept_since_with(&former, now),
            first_seen: former.seen_of_kept_back(&self.pending),
            pending: former.seen(self.pending, now),
            ..self
        };
        let since = Since::load(paths).with(&list.pending, now);
        let stored = Stored { list: &list, since };
        write_atomically(&path(paths), &serde_json::to_vec(&stored)?, 0o644)?;
        Ok(list)
    }

    /// What is pending now, each update with since when it is, by this list, which was the last one: pure. No date
    /// is after `now`: it would be of a clock that was wrong.
    #[must_use]
    pub fn seen(&self, mut pending: Pending, now: DateTime<Utc>) -> Pending {
        let seen: BTreeMap<String, DateTime<Utc>> = self.all_seen().in_order();
        for update in &mut pending.updates {
            let first = seen.get(&version_of(update)).copied().unwrap_or(now);
            update.first_seen = Some(first.min(now));
        }
        pending
    }

    /// What is to be remembered of candidates of packages that are kept back in the next list, of a source that
    /// fails for a time or after a rollback: pure.
    fn seen_of_kept_back(&self, next: &Pending) -> BTreeMap<String, DateTime<Utc>> {
        let is_kept_back = |version: &str| {
            let (key, _) = version.split_once('=').unwrap_or((version, ""));
            let (package, _) = key.split_once(':').unwrap_or((key, ""));
            let mut kept_back = next.kept_back.iter();
            kept_back.any(|kept| kept.package == package || kept.package == key)
        };
        self.all_seen()
            .filter(|(version, _)| is_kept_back(version))
            .in_order()
    }

    /// Since when each candidate was pending that this list knows of.
    fn all_seen(&self) -> impl Iterator<Item = (String, DateTime<Utc>)> {
        let updates = self.pending.updates.iter();
        let pending = updates.filter_map(|update| Some((version_of(update), update.first_seen?)));
        let kept_back = self.first_seen.iter();
        kept_back
            .map(|(version, first)| (version.clone(), *first))
            .chain(pending)
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

/// A candidate, as `package:architecture=version`.
fn version_of(update: &Update) -> String {
    format!("{}={}", update.key(), update.candidate)
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("updates.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{KeptBack, KeptBackCause};

    #[test]
    fn an_update_is_seen_first_when_its_version_came_and_is_forgotten_when_it_went() {
        let day =
            |day: u32| -> DateTime<Utc> { format!("2026-01-{day:02}T00:00:00Z").parse().unwrap() };
        let pending = |updates: &[(&str, &str)], kept: &[&str]| {
            let update = |(package, candidate): &(&str, &str)| Update {
                package: (*package).into(),
                architecture: "all".into(),
                candidate: (*candidate).into(),
                ..Update::default()
            };
            let kept = kept
                .iter()
                .map(|package| KeptBack::new(*package, KeptBackCause::Source, "x"));
            Pending {
                updates: updates.iter().map(update).collect(),
                kept_back: kept.collect(),
            }
        };
        let after = |former: &PendingList, next: Pending, now: u32| PendingList {
            first_seen: former.seen_of_kept_back(&next),
            pending: former.seen(next, day(now)),
            ..PendingList::default()
        };
        let days = |list: &PendingList| -> Vec<DateTime<Utc>> {
            let updates = list.pending.updates.iter();
            updates.filter_map(|update| update.first_seen).collect()
        };
        let list = after(&PendingList::default(), pending(&[("a", "1")], &[]), 1);
        let list = after(&list, pending(&[("a", "1"), ("b", "1")], &[]), 2);
        assert_eq!(days(&list), [day(1), day(2)]);
        // its source fails for a while, and another version of the other comes
        let list = after(&list, pending(&[("b", "2")], &["a"]), 3);
        assert_eq!(days(&list), [day(3)]);
        assert_eq!(list.first_seen, [("a:all=1".to_owned(), day(1))].into());
        let list = after(&list, pending(&[("a", "1"), ("b", "1")], &[]), 4);
        assert_eq!(days(&list), [day(1), day(4)]);
        assert!(list.first_seen.is_empty());
        // the clock was ahead
        let list = after(&list, pending(&[("b", "1")], &[]), 3);
        assert_eq!(days(&list), [day(3)]);
    }

    #[test]
    fn a_list_of_an_older_version_is_read() {
        let text = r#"{"computed_at":null,"updates":[{"package":"a","architecture":"all","installed":"1",
            "candidate":"2","origin":"x","security":true}],"kept_back":[]}"#;
        let list: PendingList = serde_json::from_str(text).unwrap();
        let update = &list.pending.updates[0];
        assert_eq!((update.size, update.first_seen), (None, None));
        assert!(update.advisories.is_empty());
    }

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
