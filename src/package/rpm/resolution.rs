//! What a resolver says that a run would do, and what that means as a list of pending updates.

use std::collections::BTreeMap;

use super::advisories::{self, Advisories};
use crate::package::{
    Change, Database, KeptBack, KeptBackCause, PackageId, Pending, Update, replaced,
};
use crate::sorted;

/// A version that would be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub key: PackageId,
    /// Without an epoch of 0.
    pub evr: String,
    /// The id of its repository.
    pub repository: String,
    /// The bytes of its package file, where the tool says how many.
    pub size: Option<u64>,
}

impl Planned {
    /// As an update of what is installed.
    fn update(&self, database: &Database) -> Update {
        let update = Update {
            package: self.key.package.clone(),
            architecture: self.key.architecture.clone(),
            candidate: self.evr.clone(),
            origin: self.repository.clone(),
            size: self.size,
            ..Update::default()
        };
        update.over(replaced(database, &self.key))
    }
}

/// A package that would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub package: String,
    /// Which version, where the tool says so.
    pub evr: Option<String>,
    /// Which new package takes its place, where the tool says so.
    pub because: Option<String>,
}

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    pub install: Vec<Planned>,
    pub remove: Vec<Removal>,
    /// Updates that cannot be installed.
    pub skipped: Vec<Planned>,
    /// What the resolver says of why, problem by problem, the first line a summary.
    pub problems: Vec<Vec<String>>,
}

impl Resolution {
    /// As a list of pending updates, of which those with a security advisory are marked.
    pub fn pending(&self, database: &Database, advisories: &Advisories) -> Pending {
        let update = |planned: &Planned| Update {
            security: advisories.contains_key(&planned.key),
            advisories: advisories::names(advisories.get(&planned.key).into_iter().flatten()),
            ..planned.update(database)
        };
        let mut updates: Vec<Update> = self.install.iter().map(update).collect();
        sorted::sort_by_key(&mut updates, Update::key);
        Pending {
            updates,
            kept_back: self.kept_back(),
        }
    }

    /// The names of the package files that would be installed.
    pub fn file_names(&self) -> Vec<String> {
        let name = |planned: &Planned| file_name(&planned.key, &planned.evr);
        self.install.iter().map(name).collect()
    }

    /// As a list of changes; `files` knows where the package files lie, by name.
    pub fn changes(
        &self,
        database: &Database,
        files: &BTreeMap<String, std::path::PathBuf>,
    ) -> Vec<Change> {
        let change = |planned: &Planned| Change {
            file: files.get(&file_name(&planned.key, &planned.evr)).cloned(),
            ..Change::from(&planned.update(database))
        };
        let mut changes: Vec<Change> = self.install.iter().map(change).collect();
        sorted::sort(&mut changes);
        changes
    }

    /// What the run would do that is not among these changes, in a phrase: where it says so, nothing of it
    /// may begin.
    pub fn beyond(&self, agreed: &[Change]) -> Option<String> {
        let goes = |removal: &&Removal| {
            let is_agreed = |c: &Change| {
                let is_it = removal.evr.is_none() || removal.evr == c.from;
                c.to.is_none() && c.package == removal.package && is_it
            };
            !agreed.iter().any(is_agreed)
        };
        let comes = |planned: &&Planned| {
            let is_agreed = |c: &Change| c.to.is_some() && c.key() == planned.key;
            !agreed.iter().any(is_agreed)
        };
        let removal = self.remove.iter().find(goes);
        removal
            .map(|removal| format!("{} would be removed", removal.package))
            .or_else(|| {
                let planned = self.install.iter().find(comes)?;
                Some(format!(
                    "{} {} would be installed",
                    planned.key, planned.evr
                ))
            })
    }

    /// What is not installed, each with the first thing the resolver says of it.
    pub fn kept_back(&self) -> Vec<KeptBack> {
        let kept = |planned: &Planned| {
            let reason = self.why_skipped(planned);
            let reason = reason.unwrap_or_else(|| format!("{} cannot be installed", planned.evr));
            KeptBack::new(&planned.key.package, KeptBackCause::Dependency, reason)
        };
        self.skipped.iter().map(kept).collect()
    }

    /// The first thing that the resolver says of an update that is not installed.
    pub fn why_skipped(&self, planned: &Planned) -> Option<String> {
        let version = super::evr::without_epoch(&planned.evr);
        let of_version = |rest: &str| rest.starts_with(version);
        let of_any = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        let about = |is_it: &dyn Fn(&str) -> bool| {
            let is_about = |line: &String| names(line, &planned.key.package, is_it);
            let group = self.problems.iter().find(|g| g.iter().any(is_about))?;
            let detail = group.iter().skip(1).find(|line| is_about(line));
            Some(detail.or(group.first())?.clone())
        };
        about(&of_version).or_else(|| about(&of_any))
    }
}

/// Whether a line names a version of the package: `demo-1.1-1.noarch`, but not `my-demo-1.1-1` or `demo-data-1.1`.
fn names(line: &str, package: &str, is_version: &dyn Fn(&str) -> bool) -> bool {
    let mut found = line.match_indices(package);
    found.any(|(place, _)| {
        let before = line[..place].chars().next_back();
        let begins = before.is_none_or(|c| !c.is_alphanumeric() && !"-_.+".contains(c));
        let rest = line[place + package.len()..].strip_prefix('-');
        let without_epoch = |rest: &str| match rest.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => rest.to_owned(),
            _ => rest.to_owned(),
        };
        begins && rest.is_some_and(|rest| is_version(&without_epoch(rest)))
    })
}

/// The name of a package file, as every repository has it by convention.
pub fn file_name(key: &PackageId, evr: &str) -> String {
    let version = super::evr::without_epoch(evr);
    format!("{}-{version}.{}.rpm", key.package, key.architecture)
}

/// What the second list has and the first has not, as kept back for a reason.
pub fn only_in(
    known: &Pending,
    all: &[Planned],
    reason: impl Fn(&Planned) -> Option<(KeptBackCause, String)>,
) -> Vec<KeptBack> {
    all.iter()
        .filter(|planned| {
            !known
                .updates
                .iter()
                .any(|update| update.key() == planned.key)
                && !known
                    .kept_back
                    .iter()
                    .any(|kept| kept.package == planned.key.package)
        })
        .filter_map(|planned| {
            let (cause, reason) = reason(planned)?;
            Some(KeptBack::new(&planned.key.package, cause, reason))
        })
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn planned(name: &str, evr: &str) -> Planned {
        Planned {
            key: PackageId::new(name, "noarch"),
            evr: evr.into(),
            repository: "lab".into(),
            size: None,
        }
    }

    #[test]
    fn a_run_that_does_more_than_was_agreed_to_is_refused() {
        let change = |package: &str, to: Option<&str>| Change {
            package: package.into(),
            architecture: "noarch".into(),
            from: Some("1.1-1".into()),
            to: to.map(Into::into),
            file: None,
            ..Change::default()
        };
        let agreed = [change("demo", Some("1.0-1")), change("new", None)];
        let gone = |package: &str| Removal {
            package: package.into(),
            evr: Some("1.1-1".into()),
            because: None,
        };
        let mut resolved = Resolution {
            install: vec![planned("demo", "1.0-1")],
            remove: vec![gone("new")],
            ..Resolution::default()
        };
        assert_eq!(resolved.beyond(&agreed), None);
        resolved.remove[0].evr = Some("1.0-1".into());
        assert_eq!(resolved.beyond(&agreed).unwrap(), "new would be removed");
        resolved.remove[0].evr = None;
        assert_eq!(resolved.beyond(&agreed), None);
        resolved.remove.push(gone("on-top"));
        assert_eq!(resolved.beyond(&agreed).unwrap(), "on-top would be removed");
        resolved.remove.pop();
        resolved.install.push(planned("more", "1-1"));
        assert_eq!(
            resolved.beyond(&agreed).unwrap(),
            "more:noarch 1-1 would be installed"
        );
    }

    #[test]
    fn a_skipped_update_is_explained() {
        let resolved = Resolution {
            skipped: vec![
                planned("unsat", "1.1-1"),
                planned("rm1", "1.1-1"),
                planned("x", "1-1"),
            ],
            problems: vec![
                vec![
                    "cannot install the best update candidate for package unsat-1.0-1.noarch"
                        .into(),
                    "nothing provides nothing-there needed by unsat-1.1-1.noarch from lab".into(),
                ],
                vec!["package rm1-1.1-1.noarch from lab conflicts with victim".into()],
            ],
            ..Resolution::default()
        };
        assert!(names("by tool-2:1.1-1.noarch", "tool", &|rest| rest
            == "1.1-1.noarch"));
        for other in ["my-tool-1.1-1.noarch", "tool-data-1.1-1.noarch", "a tool"] {
            assert!(
                !names(other, "tool", &|rest| rest.starts_with('1')),
                "{other}"
            );
        }
        let kept = resolved.kept_back();
        assert!(kept[0].reason.starts_with("nothing provides"));
        assert!(kept[1].reason.contains("conflicts with victim"));
        assert_eq!(kept[2].reason, "1-1 cannot be installed");
    }
}
