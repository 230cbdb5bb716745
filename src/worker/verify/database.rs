//! What a transaction did, read from the package database: pure.

use std::collections::BTreeSet;

use crate::package::{Change, Database, Key, PackageState};
use crate::sorted::InOrder;

/// The judgement on a transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What really changed.
    pub changes: Vec<Change>,
    /// Planned packages that are not as planned, a sentence each, with the package.
    pub wrong: Vec<(Key, String)>,
    /// Packages that changed although nobody planned it, a sentence each.
    pub unplanned: Vec<String>,
    /// Packages that are broken and were no part of the transaction, a sentence each.
    pub strangers: Vec<String>,
}

/// Compares the database before and after with what was intended. The package manager's exit code is
/// not asked: with one half-configured stranger on the host every apply of apt exits with 100, and
/// a package may have its new version and not be configured (both measured).
pub fn verdict(before: &Database, after: &Database, intended: &[Change]) -> Verdict {
    let planned: BTreeSet<Key> = intended.iter().map(Change::key).in_order();
    let mut verdict = Verdict {
        changes: changes(before, after, intended),
        ..Verdict::default()
    };
    for change in intended {
        if let Some(why) = mismatch(change, after) {
            verdict.wrong.push((change.key(), why));
        }
    }
    for change in verdict
        .changes
        .iter()
        .filter(|change| !planned.contains(&change.key()))
    {
        verdict.unplanned.push(format!(
            "{} was changed, too, which was not planned",
            change.key()
        ));
    }
    for (key, installed) in after.iter().filter(|(key, _)| !planned.contains(key)) {
        if let PackageState::Broken(state) = &installed.state {
            verdict
                .strangers
                .push(format!("{key} is {state} and was no part of this update"));
        }
    }
    verdict
}

impl Verdict {
    /// With what failed in packages that are as planned by their version.
    #[must_use]
    pub fn with(mut self, failures: &[(Key, String)]) -> Self {
        for (key, why) in failures {
            if self.wrong.iter().all(|(wrong, _)| wrong != key) {
                self.wrong.push((key.clone(), format!("{key}: {why}")));
            }
        }
        self
    }
}

fn mismatch(change: &Change, after: &Database) -> Option<String> {
    let key = change.key();
    match (after.get(&key), &change.to) {
        (None, None) => None,
        (Some(installed), None) => Some(format!("{key} is still there in {}", installed.version)),
        (None, Some(to)) => Some(format!("{key} is not installed, although {to} was planned")),
        (Some(installed), Some(to)) if installed.version != *to => {
            Some(format!("{key} is {}, not {to}", installed.version))
        }
        (Some(installed), Some(to)) => match &installed.state {
            PackageState::Good => None,
            PackageState::Broken(state) => Some(format!("{key} is {state} in {to}")),
        },
    }
}

/// Every difference between two databases; the file of a change is known where it was intended.
fn changes(before: &Database, after: &Database, intended: &[Change]) -> Vec<Change> {
    let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).in_order();
    keys.into_iter()
        .filter_map(|key| {
            let version = |database: &Database| database.get(key).map(|i| i.version.clone());
            let (from, to) = (version(before), version(after));
            (from != to).then(|| Change {
                package: key.package.clone(),
                architecture: key.architecture.clone(),
                from,
                to,
                file: intended
                    .iter()
                    .find(|c| c.key() == *key)
                    .and_then(|c| c.file.clone()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Installed;

    fn database(entries: &[(&str, &str, &str)]) -> Database {
        let entry = |(name, version, state): &(&str, &str, &str)| {
            let state = match *state {
                "ok" => PackageState::Good,
                other => PackageState::Broken(other.to_owned()),
            };
            let key = Key {
                package: (*name).into(),
                architecture: "all".into(),
            };
            (
                key,
                Installed {
                    version: (*version).into(),
                    state,
                    held: false,
                },
            )
        };
        entries.iter().map(entry).collect()
    }

    fn intent(name: &str, from: Option<&str>, to: Option<&str>) -> Change {
        Change {
            package: name.into(),
            architecture: "all".into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
            file: None,
        }
    }

    #[test]
    fn as_planned() {
        let before = database(&[("a", "1", "ok"), ("s", "1", "half-configured")]);
        let after = database(&[
            ("a", "2", "ok"),
            ("n", "1", "ok"),
            ("s", "1", "half-configured"),
        ]);
        let plan = [
            intent("a", Some("1"), Some("2")),
            intent("n", None, Some("1")),
        ];
        let verdict = verdict(&before, &after, &plan);
        assert_eq!(verdict.changes.len(), 2);
        assert!(verdict.wrong.is_empty() && verdict.unplanned.is_empty());
        assert_eq!(verdict.strangers.len(), 1, "reported, and no failure");
    }

    #[test]
    fn the_right_version_in_the_wrong_state_is_wrong() {
        let before = database(&[("a", "1", "ok")]);
        let after = database(&[("a", "2", "half-configured")]);
        let verdict = verdict(&before, &after, &[intent("a", Some("1"), Some("2"))]);
        assert_eq!(verdict.wrong[0].1, "a:all is half-configured in 2");
    }

    #[test]
    fn a_failed_scriptlet_is_wrong_and_is_said_once() {
        let database = database(&[("a", "2", "ok"), ("b", "1", "ok")]);
        let plan = [
            intent("a", Some("1"), Some("2")),
            intent("b", Some("1"), Some("2")),
        ];
        let failed = |name: &str| {
            let key = intent(name, None, None).key();
            (key, "a scriptlet failed".to_owned())
        };
        let verdict = verdict(&database, &database, &plan).with(&[failed("a"), failed("b")]);
        let why: Vec<&str> = verdict.wrong.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(why, ["b:all is 1, not 2", "a:all: a scriptlet failed"]);
    }

    #[test]
    fn what_did_not_happen_and_what_nobody_planned() {
        let before = database(&[("a", "1", "ok"), ("b", "1", "ok")]);
        let after = database(&[("a", "1", "ok"), ("b", "0", "ok")]);
        let verdict = verdict(&before, &after, &[intent("a", Some("1"), Some("2"))]);
        assert_eq!(verdict.wrong[0].1, "a:all is 1, not 2");
        assert_eq!(verdict.unplanned.len(), 1);
    }
}
