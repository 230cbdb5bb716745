//! Former versions of RPM packages: where they could be had from again. Nothing packs installed files
//! into a package again: rpm has no such program.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::conf::{self, Front};
use super::gate::{Announced, ArchivedVersions};
use super::{database, repositories, resolution};
use crate::package::{Change, RollbackItem, RollbackSource, StoredPackage, rollback_source};
use crate::sorted::InOrder;

/// Looks each former version up: beside the new one, where it stays, in what we keep, in the package
/// manager's caches, and in the repositories, by one question for all that were not found before.
pub fn find(
    changes: &[Change],
    kept: &[StoredPackage],
    caches: &[PathBuf],
    parallel: &BTreeSet<String>,
    listed: impl FnOnce(&[String]) -> Result<ArchivedVersions>,
) -> Vec<RollbackItem> {
    let wanted: Vec<String> = changes.iter().filter_map(file_name).collect();
    let cached = repositories::files(caches, &wanted);
    let mut found: Vec<(Change, Option<RollbackSource>)> = Vec::new();
    for change in changes {
        let source = match &change.from {
            None => Some(RollbackSource::NewlyInstalled),
            Some(_) if parallel.contains(&change.package) => Some(RollbackSource::Installonly),
            Some(_) => rollback_source::stored(change, kept).or_else(|| {
                let file = cached.get(&file_name(change)?)?;
                rollback_source::cached(change, kept, file)
            }),
        };
        found.push((change.clone(), source));
    }
    let names: Vec<String> = found
        .iter()
        .filter(|(_, source)| source.is_none())
        .map(|(change, _)| change.package.clone())
        .collect();
    let mut nowhere = "it is not kept, not in the cache and in no repository".to_owned();
    let listed = if names.is_empty() {
        BTreeSet::new()
    } else {
        // what is found on the disk is good also when the front end cannot run any more
        listed(&names).unwrap_or_else(|error| {
            nowhere = format!(
                "it is not kept and not in the cache, and the repositories cannot be asked ({error:#})"
            );
            BTreeSet::new()
        })
    };
    let former = found.into_iter().map(|(change, source)| {
        let version = change.from.clone().unwrap_or_default();
        let source = source.unwrap_or_else(|| {
            if listed.contains(&(change.former_key(), version)) {
                RollbackSource::Archive
            } else {
                RollbackSource::Unavailable {
                    why: nowhere.clone(),
                }
            }
        });
        RollbackItem { change, source }
    });
    former.collect()
}

/// The former versions that repositories have, where that was announced with the changes.
#[derive(Debug, Default)]
pub struct Archived(Mutex<Option<ArchivedVersions>>);

impl Archived {
    /// Remembers what was announced; the changes alone.
    pub fn remember(&self, announced: Vec<Announced>) -> Vec<Change> {
        let archived = |a: &Announced| Some((a.change.former_key(), a.change.from.clone()?));
        if announced.iter().all(|a| a.archived.is_some()) {
            let there = announced.iter().filter(|a| a.archived == Some(true));
            let there = there.filter_map(archived).in_order();
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(there);
        }
        announced.into_iter().map(|a| a.change).collect()
    }

    /// What was announced, or the answer to the question.
    pub fn or_ask(
        &self,
        ask: impl FnOnce() -> Result<ArchivedVersions>,
    ) -> Result<ArchivedVersions> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().map_or_else(ask, Ok)
    }
}

/// Which of the packages that change stay installed in their former version.
pub fn parallel(changes: &[Change], front: Front) -> Result<BTreeSet<String>> {
    let names = changes.iter().filter(|change| change.from.is_some());
    let names: Vec<&str> = names.map(|change| change.package.as_str()).collect();
    database::parallel_among(&names, &conf::parallel_by(front))
}

fn file_name(change: &Change) -> Option<String> {
    let version = change.from.as_deref()?;
    Some(resolution::file_name(&change.former_key(), version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_comes_before_the_repository() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join("lab-0123456789abcdef/packages");
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("demo-1.0-1.noarch.rpm");
        std::fs::write(&file, "demo").unwrap();
        let change = |package: &str, from: Option<&str>| Change {
            package: package.into(),
            architecture: "noarch".into(),
            from: from.map(Into::into),
            to: Some("2".into()),
            file: None,
            ..Change::default()
        };
        let changes = [
            change("demo", Some("3:1.0-1")),
            change("tool", Some("1.0-1")),
            change("gone", Some("1.0-1")),
            change("new", None),
            change("kernel", Some("1.0-1")),
        ];
        let parallel = BTreeSet::from(["kernel".to_owned(), "new".to_owned()]);
        let found = find(
            &changes,
            &[],
            &[cache.path().to_owned()],
            &parallel,
            |names| {
                assert_eq!(names, ["tool", "gone"]);
                Ok(BTreeSet::from([(changes[1].key(), "1.0-1".to_owned())]))
            },
        );
        let sources: Vec<&str> = found.iter().map(|f| f.source.as_str()).collect();
        assert_eq!(sources, ["cached", "archive", "missing", "new", "beside"]);
        assert_eq!(found[0].source.file(), Some(file.as_path()));
    }
}
