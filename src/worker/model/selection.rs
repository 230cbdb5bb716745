//! Which updates a batch of jobs means: pure.

use std::collections::BTreeSet;

use crate::package::{
    Change, Database, Installed, KeptBack, PackageId, PackageState, Pending, Update,
};
use crate::request::{PackageName, Target};
use crate::sorted::InOrder;
use crate::state::job::Job;

/// The packages of the database that have this name.
fn installed<'a>(
    name: &'a PackageName,
    database: &'a Database,
) -> impl Iterator<Item = (&'a PackageId, &'a Installed)> {
    let (package, only) = name.as_str().split_once(':').unwrap_or((name.as_str(), ""));
    let first = PackageId {
        package: package.to_owned(),
        architecture: only.to_owned(),
    };
    database
        .range(first..)
        .take_while(move |(key, _)| key.package == package)
        .filter(|(key, _)| name.is_for(&key.package, &key.architecture))
}

/// The first package that one of the jobs names and that is broken, in a sentence: while no update of
/// it is pending, nothing that a job could do would make it whole.
pub fn broken(jobs: &[Job], database: &Database) -> Option<String> {
    let names: BTreeSet<&PackageName> = jobs
        .iter()
        .filter_map(|job| match &job.request.packages {
            Some(Target::Packages(names)) => Some(names),
            _ => None,
        })
        .flatten()
        .in_order();
    let mut named = names.iter().flat_map(|name| installed(name, database));
    named.find_map(|(key, installed)| match &installed.state {
        PackageState::Good => None,
        PackageState::Broken(state) => Some(format!("{key} is {state} in {}", installed.version)),
    })
}

/// The pending updates that the target covers, newly needed packages among them.
pub fn covered(target: &Target, pending: &Pending) -> Vec<Update> {
    let covered = |update: &&Update| is_covered(target, update);
    pending.updates.iter().filter(covered).cloned().collect()
}

/// Whether the target covers the update, by the architecture that it brings or by that which is installed.
pub fn is_covered(target: &Target, update: &Update) -> bool {
    let covers = |key: &PackageId| target.covers(&key.package, &key.architecture, update.security);
    covers(&update.key()) || covers(&update.former_key())
}

/// The pending updates that one of the jobs asks for.
pub fn selected(jobs: &[Job], pending: &Pending) -> Vec<Update> {
    let asked = |update: &&Update| {
        update.installed.is_some()
            && jobs
                .iter()
                .filter_map(|job| job.request.packages.as_ref())
                .any(|target| is_covered(target, update))
    };
    pending.updates.iter().filter(asked).cloned().collect()
}

/// What of the kept back belongs to the job: everything for `all` and `security`, else what it named.
pub fn kept_back(target: &Target, kept_back: &[KeptBack]) -> Vec<KeptBack> {
    let belongs = |kept: &&KeptBack| {
        let (package, architecture) = kept.package.split_once(':').unwrap_or((&kept.package, ""));
        match target {
            Target::All | Target::Security => true,
            Target::Packages(names) => names.iter().any(|name| {
                name.as_str() == kept.package
                    || name.is_for(package, architecture)
                    || name.as_str().split(':').next() == Some(package)
            }),
        }
    };
    kept_back.iter().filter(belongs).cloned().collect()
}

/// What of a transaction's changes belongs to the job: what it asked for, and the dependencies, for which no
/// job asked by name.
pub fn changes_of(
    target: &Target,
    dependencies: &BTreeSet<PackageId>,
    changes: &[Change],
) -> Vec<Change> {
    let belongs =
        |change: &&Change| asks_for(target, change) || dependencies.contains(&change.key());
    changes.iter().filter(belongs).cloned().collect()
}

/// The changes that none of the targets asks for.
pub fn dependencies(all: &[Target], changes: &[Change]) -> BTreeSet<PackageId> {
    let mut names = BTreeSet::new();
    for target in all {
        match target {
            Target::Packages(packages) => names.extend(packages.iter().map(PackageName::as_str)),
            Target::All | Target::Security => return BTreeSet::new(),
        }
    }
    let is_named = |key: &PackageId| names.contains(key.to_string().as_str());
    let dependencies = changes.iter().filter(|change| {
        let by_name = names.contains(change.package.as_str());
        !by_name && !is_named(&change.key()) && !is_named(&change.former_key())
    });
    dependencies.map(Change::key).in_order()
}

fn asks_for(target: &Target, change: &Change) -> bool {
    match target {
        Target::Packages(_) => {
            let covers = |key: &PackageId| target.covers(&key.package, &key.architecture, false);
            covers(&change.key()) || covers(&change.former_key())
        }
        Target::All | Target::Security => true,
    }
}

/// Everything the jobs ask for, each name once.
pub fn target_of(jobs: &[Job]) -> String {
    let targets = jobs.iter().filter_map(|job| job.request.packages.as_ref());
    let names: BTreeSet<String> = targets.flat_map(Target::names).in_order();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(names: &[&str]) -> Target {
        Target::from_names(names).unwrap()
    }

    fn change(package: &str) -> Change {
        Change {
            package: package.into(),
            architecture: "amd64".into(),
            from: Some("1".into()),
            to: Some("2".into()),
            file: None,
            ..Change::default()
        }
    }

    #[test]
    fn names_cover_exactly() {
        assert!(target(&["libx"]).covers("libx", "i386", false));
        assert!(target(&["libx:i386"]).covers("libx", "i386", false));
        assert!(!target(&["libx:i386"]).covers("libx", "amd64", false));
        assert!(!target(&["lib"]).covers("libx", "amd64", true));
        assert!(Target::Security.covers("libx", "amd64", true));
        assert!(!Target::Security.covers("libx", "amd64", false));
    }

    #[test]
    fn a_dependency_belongs_to_everybody_and_a_named_package_to_who_named_it() {
        let (a, b) = (target(&["a"]), target(&["b"]));
        let changes = [change("a"), change("b"), change("libdep")];
        let names = |target: &Target| -> Vec<String> {
            let all = [a.clone(), b.clone()];
            changes_of(target, &dependencies(&all, &changes), &changes)
                .into_iter()
                .map(|c| c.package)
                .collect()
        };
        assert_eq!(names(&a), ["a", "libdep"]);
        assert_eq!(names(&b), ["b", "libdep"]);
        assert_eq!(names(&Target::All).len(), 3);
    }
}
