//! Whether former versions may come back beside what is installed: apt's resolver sees that by itself, and dpkg,
//! which is used without it where apt cannot run, is made to unpack whatever it is given.

use std::collections::BTreeSet;

use anyhow::Result;

use super::relations::{self, Compare, Package, Relation};
use crate::package::{PackageId, RollbackItem};
use crate::sorted::InOrder;

/// What would not be true any more of the packages of this host if these former versions came back: the first
/// relation between one of them and a package that stays, in a phrase. Their files are read, which have to exist.
pub fn refusal(former: &[RollbackItem]) -> Result<Option<String>> {
    let mut back = Vec::new();
    for former in former {
        if let Some(file) = former.source.file() {
            back.push(relations::of_file(file)?);
        }
    }
    let going = former.iter().map(|f| f.change.key()).in_order();
    find_refusal(&relations::read()?, &going, &back, &relations::compare)
}

/// Pure but for the comparison of versions. Relations among the packages that come back are not looked at: they
/// were installed together.
fn find_refusal(
    installed: &[Package],
    going: &BTreeSet<PackageId>,
    back: &[Package],
    compare: Compare<'_>,
) -> Result<Option<String>> {
    let is_staying = |package: &&Package| !going.contains(&package.key);
    let staying: Vec<&Package> = installed.iter().filter(is_staying).collect();
    let after: Vec<&Package> = back.iter().chain(staying.iter().copied()).collect();
    let before: Vec<&Package> = installed.iter().collect();
    for package in &staying {
        for group in &package.depends {
            if is_there(group, &before, compare)? && !is_there(group, &after, compare)? {
                return Ok(Some(needs(package, group)));
            }
        }
    }
    for package in back {
        for group in &package.depends {
            if !is_there(group, &after, compare)? {
                let (version, needs) = (&package.version, needs(package, group));
                return Ok(Some(format!("in version {version}, {needs}")));
            }
        }
        for other in &staying {
            for (one, other) in [(package, *other), (*other, package)] {
                if let Some(relation) = excluded(one, other, compare)? {
                    let (one, other, version) = (&one.key, &other.key, &other.version);
                    let relation = shown(relation);
                    return Ok(Some(format!(
                        "{one} excludes {relation}, and {other} would be {version}"
                    )));
                }
            }
        }
    }
    Ok(None)
}

/// The relation by which one package does not allow the other beside it. A package does not exclude itself, in
/// whatever architecture, by a name that it provides (Debian Policy, 7.6.2).
fn excluded<'a>(
    one: &'a Package,
    other: &Package,
    compare: Compare<'_>,
) -> Result<Option<&'a Relation>> {
    for relation in &one.excludes {
        let is_itself = one.key.package == other.key.package && relation.name != other.key.package;
        if !is_itself && covers(relation, other, compare)? {
            return Ok(Some(relation));
        }
    }
    Ok(None)
}

/// Whether one of the group is among these packages.
fn is_there(group: &[Relation], packages: &[&Package], compare: Compare<'_>) -> Result<bool> {
    for relation in group {
        for package in packages {
            if covers(relation, package, compare)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether the package is what is meant, by its name or by one that it provides: a version is then that of the
/// name which is provided, and one without a version is not meant where a version is asked for (Debian Policy,
/// 7.5).
fn covers(relation: &Relation, package: &Package, compare: Compare<'_>) -> Result<bool> {
    if package.key.package == relation.name && relation.covers(&package.version, compare)? {
        return Ok(true);
    }
    let provided = package.provides.iter();
    for provided in provided.filter(|p| p.name == relation.name) {
        let is_meant = match &provided.version {
            Some((_, version)) => relation.covers(version, compare)?,
            None => relation.version.is_none(),
        };
        if is_meant {
            return Ok(true);
        }
    }
    Ok(false)
}

fn needs(package: &Package, group: &[Relation]) -> String {
    let needed: Vec<String> = group.iter().map(shown).collect();
    format!("{} needs {}", package.key, needed.join(" | "))
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
            excludes: Vec::new(),
        }
    }

    fn excluding(name: &str, excludes: Relation) -> Package {
        Package {
            depends: Vec::new(),
            excludes: vec![excludes],
            ..package(name, "1.1", &[])
        }
    }

    /// `lib` comes back in this form, and `new`, which needs it as it is, goes.
    fn found_of(back: &Package, others: &[Package]) -> Option<String> {
        let free = |package: Package| Package {
            depends: Vec::new(),
            ..package
        };
        let mut installed = vec![
            free(package("lib", "1.1", &[])),
            package("new", "1.1", &[relation("lib", Some((">=", "1.1")))]),
        ];
        installed[1].provides = vec![relation("virtual", None)];
        installed.extend(others.to_vec());
        let going = ["lib", "new"].map(|name| package(name, "", &[]).key);
        // for versions of one digit behind the dot
        let compare = |one: &str, sign: &str, other: &str| {
            Ok(match sign {
                ">=" => one >= other,
                _ => one < other,
            })
        };
        let back = std::slice::from_ref(back);
        find_refusal(&installed, &going.into(), back, &compare).unwrap()
    }

    fn found(others: &[Package]) -> Option<String> {
        let lib = Package {
            depends: Vec::new(),
            ..package("lib", "1.0", &[])
        };
        found_of(&lib, others)
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
        let other = package("other", "1", &[relation("lib", None)]);
        let either = [newer, relation("other", None)];
        assert_eq!(found(&[package("x", "1", &either), other]), None);
        assert!(found(&[package("x", "1", &[relation("new", None)])]).is_some());
        assert!(found(&[package("x", "1", &[relation("virtual", None)])]).is_some());
        // what is missing already does not count
        let missing = relation("lib", Some((">=", "1.2")));
        assert_eq!(found(&[package("x", "1", &[missing])]), None);
    }

    #[test]
    fn a_former_version_that_lacks_what_it_needs_is_named() {
        let lib = package("lib", "1.0", &[relation("other", Some(("<<", "1.1")))]);
        let other = |version| {
            let other = package("other", version, &[relation("lib", None)]);
            found_of(&lib, &[other])
        };
        assert_eq!(other("1.0"), None);
        let said = "in version 1.0, lib:all needs other (<< 1.1)";
        assert_eq!(other("1.1").unwrap(), said);
        assert_eq!(found_of(&lib, &[]).unwrap(), said);
    }

    #[test]
    fn what_excludes_a_former_version_is_named_and_the_other_way_round() {
        let older = || relation("lib", Some(("<<", "1.1")));
        assert_eq!(
            found(&[excluding("data", older())]).unwrap(),
            "data:all excludes lib (<< 1.1), and lib:all would be 1.0"
        );
        let even_older = relation("lib", Some(("<<", "1.0")));
        assert_eq!(found(&[excluding("data", even_older)]), None);
        let lib = Package {
            provides: vec![relation("any-lib", None)],
            ..excluding("lib", relation("any-lib", None))
        };
        assert_eq!(found_of(&lib, &[]), None, "not itself");
        let same = Package {
            key: PackageId {
                package: "lib".into(),
                architecture: "i386".into(),
            },
            ..lib.clone()
        };
        assert_eq!(found_of(&lib, &[same]), None, "nor its other architecture");
        let other = Package {
            provides: vec![relation("any-lib", None)],
            ..excluding("other", relation("nowhere", None))
        };
        assert!(
            found_of(&lib, &[other])
                .unwrap()
                .starts_with("lib:all excludes any-lib")
        );
    }
}
