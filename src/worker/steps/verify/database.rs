//! What a transaction did, read from the package database: pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::package::{Change, Database, Installed, PackageId, PackageState, Rebuilt};
use crate::sorted::InOrder;

/// The judgement on a transaction.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DatabaseDiff {
    /// What really changed.
    pub changes: Vec<Change>,
    /// Planned packages that are not as planned, a sentence each, with the package.
    pub wrong: Vec<(PackageId, String)>,
    /// Packages that changed without being planned, a sentence each.
    pub unplanned: Vec<String>,
    /// Packages that are broken and were no part of the transaction, a sentence each, with the package. They
    /// decide nothing: a rollback would not make them whole.
    pub unrelated_breakage: Vec<(PackageId, String)>,
}

/// Compares the database before and after with what was intended. The package manager's exit code is
/// not asked: with one half-configured unrelated package on the host every apply of apt exits with 100, and
/// a package may have its new version and not be configured (FACTS 5, FACTS 6).
pub fn verdict(before: &Database, after: &Database, intended: &[Change]) -> DatabaseDiff {
    let planned = planned(intended);
    let mut verdict = DatabaseDiff {
        changes: changes(before, after, intended),
        ..DatabaseDiff::default()
    };
    for change in intended {
        if let Some(why) = mismatch(change, after) {
            verdict.wrong.push((change.key(), why));
        }
    }
    let strange = |change: &&Change| !keys(change).iter().all(|key| planned.contains(key));
    for change in verdict.changes.iter().filter(strange) {
        verdict.unplanned.push(format!(
            "{} was also changed, although that was not planned",
            change.key()
        ));
    }
    for (key, installed) in after.iter().filter(|(key, _)| !planned.contains(key)) {
        if let PackageState::Broken(state) = &installed.state {
            let sentence = format!("{key} is {state} and was not part of this update");
            verdict.unrelated_breakage.push((key.clone(), sentence));
        }
    }
    verdict
}

fn keys(change: &Change) -> [PackageId; 2] {
    [change.key(), change.former_key()]
}

/// The packages that a transaction is about.
fn planned(intended: &[Change]) -> BTreeSet<PackageId> {
    intended.iter().flat_map(keys).in_order()
}

impl DatabaseDiff {
    /// With what failed in packages that are as planned by their version, and in those of others: a trigger.
    #[must_use]
    pub fn with(mut self, failures: &[(PackageId, String)], intended: &[Change]) -> Self {
        let planned = planned(intended);
        for (key, why) in failures {
            if !planned.contains(key) {
                let sentence = format!("{key}: {why}; it was not part of this update");
                self.unrelated_breakage.push((key.clone(), sentence));
            } else if self.wrong.iter().all(|(wrong, _)| wrong != key) {
                self.wrong.push((key.clone(), format!("{key}: {why}")));
            }
        }
        self
    }

    /// The sentences about broken packages that were no part of the transaction.
    #[must_use]
    pub fn unrelated_sentences(&self) -> Vec<String> {
        let sentences = self.unrelated_breakage.iter().map(|(_, sentence)| sentence);
        sentences.cloned().collect()
    }
}

/// Why a planned change is not made as planned. A build that the database does not tell of is taken for the
/// planned one.
fn mismatch(change: &Change, after: &Database) -> Option<String> {
    let (key, former) = (change.key(), change.former_key());
    if former != key
        && let Some(installed) = after.get(&former)
    {
        return Some(format!("{former} is still there in {}", installed.version));
    }
    match (after.get(&key), &change.to) {
        (None, None) => None,
        (Some(installed), None) => Some(format!("{key} is still there in {}", installed.version)),
        (None, Some(to)) => Some(format!("{key} is not installed, although {to} was planned")),
        (Some(installed), Some(to)) if installed.version != *to => {
            Some(format!("{key} is {}, not {to}", installed.version))
        }
        (Some(installed), Some(to)) => match &installed.state {
            PackageState::Good => change
                .other_build(installed)
                .map(|which| format!("{key} is {which} build of {to}")),
            PackageState::Broken(state) => Some(format!("{key} is {state} in {to}")),
        },
    }
}

/// Every difference between two databases; the file of a change is known where it was intended.
fn changes(before: &Database, after: &Database, intended: &[Change]) -> Vec<Change> {
    let pairs = pairs(before, after, intended);
    let moved_from: BTreeSet<&PackageId> = pairs.values().copied().in_order();
    let keys: BTreeSet<&PackageId> = before.keys().chain(after.keys()).in_order();
    let keys = keys.into_iter().filter(|key| !moved_from.contains(key));
    keys.filter_map(|key| {
        let former = pairs.get(key).copied().unwrap_or(key);
        let plan = intended.iter().find(|change| change.key() == *key);
        let (was, is) = (before.get(former), after.get(key));
        let version = |installed: Option<&Installed>| installed.map(|i| i.version.clone());
        let (from, to) = (version(was), version(is));
        let rebuilt = if from == to && former == key {
            Some(rebuilt(was?, is?, plan.and_then(|p| p.rebuilt.as_ref()))?)
        } else {
            None
        };
        Some(Change {
            package: key.package.clone(),
            architecture: key.architecture.clone(),
            former_architecture: (former != key).then(|| former.architecture.clone()),
            from,
            to,
            rebuilt,
            file: plan.and_then(|plan| plan.file.clone()),
        })
    })
    .collect()
}

/// The builds of one version before and after, where they are not the same.
fn rebuilt(was: &Installed, is: &Installed, plan: Option<&Rebuilt>) -> Option<Rebuilt> {
    let planned = plan.and_then(|plan| plan.from.as_ref());
    let (from, to) = (was.build.as_ref().or(planned)?, is.build.as_ref()?);
    (from != to).then(|| Rebuilt {
        from: Some(from.clone()),
        to: Some(to.clone()),
    })
}

/// The packages whose architecture is another one than before, as the new to the former: those that were
/// intended, and those of which one went and one came, which were not planned as two changes.
fn pairs<'a>(
    before: &'a Database,
    after: &'a Database,
    intended: &[Change],
) -> BTreeMap<&'a PackageId, &'a PackageId> {
    let only = |one: &'a Database, other: &Database| -> Vec<&'a PackageId> {
        one.keys().filter(|key| !other.contains_key(key)).collect()
    };
    let (mut gone, mut come) = (only(before, after), only(after, before));
    let mut pairs = BTreeMap::new();
    for change in intended {
        let (key, former) = (change.key(), change.former_key());
        if let Some(new) = come.iter().position(|k| **k == key)
            && let Some(old) = gone.iter().position(|k| **k == former)
        {
            pairs.insert(come.swap_remove(new), gone.swap_remove(old));
        }
        gone.retain(|k| **k != key);
        come.retain(|k| **k != key);
    }
    for new in &come {
        let of_name = |keys: &[&'a PackageId]| -> Vec<&'a PackageId> {
            let same = keys.iter().filter(|key| key.package == new.package);
            same.copied().collect()
        };
        if let ([_], [old]) = (&of_name(&come)[..], &of_name(&gone)[..]) {
            pairs.insert(new, *old);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(entries: &[(&str, &str, &str)]) -> Database {
        let entry = |(name, version, state): &(&str, &str, &str)| {
            let state = match *state {
                "ok" => PackageState::Good,
                other => PackageState::Broken(other.to_owned()),
            };
            let key = PackageId {
                package: (*name).into(),
                architecture: "all".into(),
            };
            (
                key,
                Installed {
                    version: (*version).into(),
                    state,
                    held: false,
                    ..Installed::default()
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
            ..Change::default()
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
        assert_eq!(
            verdict.unrelated_breakage.len(),
            1,
            "reported, and no failure"
        );
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
        let verdict = verdict(&database, &database, &plan)
            .with(&[failed("a"), failed("b"), failed("stranger")], &plan);
        let why: Vec<&str> = verdict.wrong.iter().map(|(_, why)| why.as_str()).collect();
        assert_eq!(why, ["b:all is 1, not 2", "a:all: a scriptlet failed"]);
        let stranger = "stranger:all: a scriptlet failed; it was not part of this update";
        assert_eq!(verdict.unrelated_sentences(), [stranger]);
    }

    #[test]
    fn what_did_not_happen_and_what_nobody_planned() {
        let before = database(&[("a", "1", "ok"), ("b", "1", "ok")]);
        let after = database(&[("a", "1", "ok"), ("b", "0", "ok")]);
        let verdict = verdict(&before, &after, &[intent("a", Some("1"), Some("2"))]);
        assert_eq!(verdict.wrong[0].1, "a:all is 1, not 2");
        assert_eq!(verdict.unplanned.len(), 1);
    }

    /// A database of one package, in one architecture.
    fn of(architecture: &str, version: &str, build: Option<&str>) -> Database {
        let key = PackageId {
            package: "a".into(),
            architecture: architecture.into(),
        };
        let installed = Installed {
            version: version.into(),
            build: build.map(Into::into),
            ..Installed::default()
        };
        Database::from([(key, installed)])
    }

    #[test]
    fn another_architecture_is_one_change() {
        let plan = [Change {
            former_architecture: Some("amd64".into()),
            ..intent("a", Some("1"), Some("2"))
        }];
        let (before, after) = (of("amd64", "1", None), of("all", "2", None));
        let good = verdict(&before, &after, &plan);
        assert_eq!(good.changes, plan);
        assert_eq!((good.wrong.len(), good.unplanned.len()), (0, 0));
        let same_version = of("all", "1", None);
        let change = &verdict(&before, &same_version, &[]).changes[0];
        assert_eq!(change.former_architecture.as_deref(), Some("amd64"));
        assert_eq!(change.rebuilt, None);

        let stayed = verdict(&before, &before, &plan);
        assert_eq!(stayed.wrong[0].1, "a:amd64 is still there in 1");
        assert!(stayed.changes.is_empty());
        let back = [plan[0].undone()];
        let returned = verdict(&after, &before, &back);
        assert_eq!(returned.changes, back);
        assert!(returned.wrong.is_empty());

        // it is one change if it was not planned, too; what stays beside is none
        let unplanned = verdict(&before, &after, &[]).unplanned;
        assert_eq!(
            unplanned,
            ["a:all was also changed, although that was not planned"]
        );
        let two: Database = [of("amd64", "1", None), of("i386", "1", None)]
            .into_iter()
            .flatten()
            .collect();
        let gone = verdict(&two, &after, &plan);
        assert_eq!(gone.changes.len(), 2);
        assert_eq!(gone.unplanned.len(), 1, "that of i386");
        let apart = [intent("a", None, Some("2"))];
        assert_eq!(verdict(&before, &after, &apart).changes.len(), 2);
    }

    #[test]
    fn the_same_version_in_another_build_is_a_change() {
        let builds = |from: &str, to: &str| Rebuilt {
            from: Some(from.into()),
            to: Some(to.into()),
        };
        let plan = |rebuilt| {
            [Change {
                rebuilt: Some(rebuilt),
                ..intent("a", Some("1"), Some("1"))
            }]
        };
        let (old, new) = (of("all", "1", Some("x")), of("all", "1", Some("y")));
        let good = verdict(&old, &new, &plan(builds("x", "y")));
        assert_eq!(good.changes, plan(builds("x", "y")));
        assert!(good.wrong.is_empty() && good.unplanned.is_empty());

        let wrong = |after: &Database, rebuilt: Rebuilt| {
            let verdict = verdict(&old, after, &plan(rebuilt));
            verdict.wrong.first().map(|(_, why)| why.clone())
        };
        let former = "a:all is still the former build of 1";
        assert_eq!(wrong(&old, builds("x", "y")).unwrap(), former);
        let unknown = Rebuilt {
            to: None,
            ..builds("x", "")
        };
        assert_eq!(wrong(&old, unknown.clone()).unwrap(), former);
        assert_eq!(wrong(&new, unknown), None);
        let another = "a:all is another build of 1";
        assert_eq!(wrong(&new, builds("x", "z")).unwrap(), another);

        // not planned; and where the database has no build, none is reported
        assert_eq!(verdict(&old, &new, &[]).unplanned.len(), 1);
        let silent = of("all", "1", None);
        assert!(verdict(&silent, &new, &[]).changes.is_empty());
        assert!(
            verdict(&silent, &silent, &plan(Rebuilt::default()))
                .wrong
                .is_empty()
        );
        let told = verdict(&silent, &new, &plan(builds("x", "y")));
        assert_eq!(told.changes, plan(builds("x", "y")));
    }
}
