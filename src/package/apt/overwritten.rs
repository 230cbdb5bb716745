//! Packages outside of an update whose files the update has taken over: removing the new package would remove these
//! files, and nothing would restore them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::backend::Apt;
use super::relations::{self, Compare, Package};
use super::{contents, rollback};
use crate::package::{Change, PackageId, RollbackItem, StoredPackage};
use crate::sorted::InOrder;

/// The packages that are no part of what is undone and of which a file is now one of its packages', in the
/// version they have, with where that could be had from. dpkg's sums of a package still name a file that its
/// list has lost; a link that was taken over, they do not.
pub fn find(
    apt: &Apt,
    former: &[RollbackItem],
    kept: &[StoredPackage],
) -> Result<Vec<RollbackItem>> {
    let going: BTreeSet<PackageId> = former.iter().map(|f| f.change.key()).in_order();
    let installed = relations::read()?;
    let candidates = replaced(&installed, &going, &relations::compare)?;
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let keys = going.iter().chain(candidates.iter().map(|p| &p.key));
    let entered = contents::entered(&keys.cloned().collect::<Vec<_>>())?;
    let theirs = entered.iter().filter(|(key, _)| going.contains(key));
    let theirs: BTreeSet<&String> = theirs.flat_map(|(_, entered)| &entered.files).in_order();
    let is_overwritten = |package: &&&Package| {
        let entered = entered.get(&package.key);
        let is_lost = |path: &String| {
            theirs.contains(path) && entered.is_none_or(|entered| !entered.files.contains(path))
        };
        summed(&apt.dpkg, &package.key).iter().any(is_lost)
    };
    let changes: Vec<Change> = candidates
        .iter()
        .filter(is_overwritten)
        .map(|package| as_it_is(package))
        .collect();
    Ok(rollback::find_whole(&apt.index, &changes, kept))
}

/// Installed packages outside of these that one of these says it replaces files of.
fn replaced<'a>(
    installed: &'a [Package],
    going: &BTreeSet<PackageId>,
    compare: Compare<'_>,
) -> Result<Vec<&'a Package>> {
    let (set, strangers): (Vec<&Package>, Vec<&Package>) =
        installed.iter().partition(|p| going.contains(&p.key));
    let mut found = Vec::new();
    for stranger in strangers {
        let relations = set.iter().flat_map(|package| &package.replaces);
        for relation in relations.filter(|r| r.name == stranger.key.package) {
            if relation.covers(&stranger.version, compare)? {
                found.push(stranger);
                break;
            }
        }
    }
    Ok(found)
}

/// The paths of which dpkg keeps a sum for the package.
fn summed(dpkg: &Path, key: &PackageId) -> Vec<String> {
    let names = [key.package.clone(), key.to_string()];
    let read = |name: &String| fs::read_to_string(dpkg.join(format!("info/{name}.md5sums"))).ok();
    let text = names.iter().find_map(read).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once("  "));
    lines.map(|(_, path)| format!("/{path}")).collect()
}

/// A change to the installed version.
fn as_it_is(package: &Package) -> Change {
    Change {
        package: package.key.package.clone(),
        architecture: package.key.architecture.clone(),
        from: Some(package.version.clone()),
        to: Some(package.version.clone()),
        ..Change::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::apt::relations::Relation;

    #[test]
    fn only_what_is_replaced_in_its_version_may_have_lost_a_file() {
        let package = |name: &str, version: &str, replaces: &[(&str, Option<&str>)]| Package {
            key: PackageId::new(name, "all"),
            version: version.into(),
            replaces: replaces
                .iter()
                .map(|(name, below)| Relation {
                    name: (*name).into(),
                    version: below.map(|version| ("<<".into(), version.into())),
                })
                .collect(),
            provides: Vec::new(),
            depends: Vec::new(),
            excludes: Vec::new(),
        };
        let installed = [
            package("new", "1.1", &[("old", None), ("later", Some("1"))]),
            package("old", "1", &[]),
            package("later", "2", &[]),
            package("other", "1", &[]),
        ];
        let going = BTreeSet::from([installed[0].key.clone()]);
        let compare = |one: &str, _: &str, other: &str| Ok(one < other);
        let found = replaced(&installed, &going, &compare).unwrap();
        assert_eq!(found, [&installed[1]]);
    }

    #[test]
    fn sums_are_read_by_either_name() {
        let root = tempfile::tempdir().unwrap();
        let info = root.path().join("info");
        fs::create_dir(&info).unwrap();
        fs::write(info.join("lib:amd64.md5sums"), "0a1b  usr/a b\ntorn\n").unwrap();
        let key = PackageId::new("lib", "amd64");
        assert_eq!(summed(root.path(), &key), ["/usr/a b"]);
    }
}
