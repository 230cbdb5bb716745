//! Who would lose what it needs if former versions came back: apt's resolver sees that by itself, and dpkg, which
//! is used without it where apt cannot run, does not.

use std::collections::BTreeSet;

use anyhow::Result;

use super::relations::{self, Compare, Package, Relation};
use crate::package::{PackageId, RollbackItem};
use crate::sorted::InOrder;

/// The first package outside of these that has what it needs now and would not have it any more, in a phrase.
pub fn unsatisfied(former: &[RollbackItem]) -> Result<Option<String>> {
    first_unsatisfied(&relations::read()?, former, &relations::compare)
}

/// Pure but for the comparison of versions. What packages provide, they are taken to have provided before.
fn first_unsatisfied(
    installed: &[Package],
    former: &[RollbackItem],
    compare: Compare<'_>,
) -> Result<Option<String>> {
    let going: BTreeSet<PackageId> = former.iter().map(|f| f.change.key()).in_order();
    let (set, others): (Vec<&Package>, Vec<&Package>) =
        installed.iter().partition(|p| going.contains(&p.key));
    let version = |package: &Package| {
        let mut former = former.iter().filter(|f| f.change.key() == package.key);
        former.next().and_then(|f| f.change.from.clone())
    };
    let back = set.iter().filter_map(|package| {
        let version = version(package)?;
        Some(Package {
            version,
            ..(*package).clone()
        })
    });
    let after: Vec<Package> = back.chain(others.iter().map(|p| (*p).clone())).collect();
    let names = set.iter().flat_map(|package| {
        let provided = package.provides.iter().map(|relation| &*relation.name);
        provided.chain([&*package.key.package])
    });
    let names: BTreeSet<&str> = names.in_order();
    for other in others {
        for group in &other.depends {
            if group.iter().any(|relation| names.contains(&*relation.name))
                && is_there(group, installed, compare)?
                && !is_there(group, &after, compare)?
            {
                let needed: Vec<String> = group.iter().map(shown).collect();
                let (name, needed) = (&other.key, needed.join(" | "));
                return Ok(Some(format!("{name} needs {needed}")));
            }
        }
    }
    Ok(None)
}

/// Whether one of the group is among these packages.
fn is_there(group: &[Relation], packages: &[Package], compare: Compare<'_>) -> Result<bool> {
    for relation in group {
        for package in packages {
            if package.key.package == relation.name && relation.covers(&package.version, compare)? {
                return Ok(true);
            }
            for provided in package.provides.iter().filter(|p| p.name == relation.name) {
                let covered = match &provided.version {
                    Some((_, version)) => relation.covers(version, compare)?,
                    None => relation.version.is_none(),
                };
                if covered {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

fn shown(relation: &Relation) -> String {
    let Relation { name, version } = relation;
    match version {
        None => name.clone(),
        Some((sign, version)) => format!("{name} ({sign} {version})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Change, RollbackSource};

    fn relation(name: &str, version: Option<(&str, &str)>) -> Relation {
        Relation {
            name: name.into(),
            version: version.map(|(sign, version)| (sign.into(), version.into())),
        }
    }

    fn package(name: &str, version: &str, depends: &[Relation]) -> Package {
        Package {
            key: PackageId {
                package: name.into(),
                architecture: "all".into(),
            },
            version: version.into(),
            replaces: Vec::new(),
            provides: Vec::new(),
            depends: vec![depends.to_vec()],
        }
    }

    fn former(name: &str, from: Option<&str>) -> RollbackItem {
        RollbackItem {
            change: Change {
                package: name.into(),
                architecture: "all".into(),
                from: from.map(Into::into),
                to: Some("1.1".into()),
                ..Change::default()
            },
            source: RollbackSource::Archive,
        }
    }

    fn found(others: &[Package]) -> Option<String> {
        let mut installed = vec![
            package("lib", "1.1", &[]),
            package("new", "1.1", &[relation("lib", Some((">=", "1.1")))]),
        ];
        installed[1].provides = vec![relation("virtual", None)];
        installed.extend(others.to_vec());
        let former = [former("lib", Some("1.0")), former("new", None)];
        // for versions of one digit behind the dot
        let compare = |one: &str, _: &str, other: &str| Ok(one >= other);
        first_unsatisfied(&installed, &former, &compare).unwrap()
    }

    #[test]
    fn a_stranger_that_needs_the_new_version_is_named() {
        let newer = relation("lib", Some((">=", "1.1")));
        let any = relation("lib", None);
        assert_eq!(found(&[]), None, "the set itself is as it was before");
        assert_eq!(found(&[package("x", "1", &[any])]), None);
        assert_eq!(
            found(&[package("x", "1", std::slice::from_ref(&newer))]).unwrap(),
            "x:all needs lib (>= 1.1)"
        );
        let other = package("other", "1", &[]);
        let either = [newer, relation("other", None)];
        assert_eq!(found(&[package("x", "1", &either), other]), None);
        assert!(found(&[package("x", "1", &[relation("new", None)])]).is_some());
        assert!(found(&[package("x", "1", &[relation("virtual", None)])]).is_some());
        // what is missing already does not count
        let missing = relation("lib", Some((">=", "1.2")));
        assert_eq!(found(&[package("x", "1", &[missing])]), None);
    }
}
