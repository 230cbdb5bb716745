//! Former versions: what we keep, what is in a cache of apk's, and the transaction that puts them back.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::backend::Apk;
use super::world::World;
use super::{arguments, output};
use crate::package::rpm::gate;
use crate::package::{
    Change, Observer, Restore, RollbackItem, RollbackSource, StoredPackage, TransactionEnd,
    rollback_source,
};

/// Looks each former version up.
pub fn find(changes: &[Change], kept: &[StoredPackage], caches: &[PathBuf]) -> Vec<RollbackItem> {
    let source = |change: &Change| {
        let Some(version) = change.from.as_deref() else {
            return RollbackSource::NewlyInstalled;
        };
        if let Some(ours) = rollback_source::stored(change, kept) {
            return ours;
        }
        let stem = format!("{}-{version}", change.package);
        let cached = caches
            .iter()
            .flat_map(|cache| std::fs::read_dir(cache).into_iter().flatten());
        let cached = cached
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_of(path, &stem))
            .find_map(|path| rollback_source::cached(change, kept, &path));
        cached.unwrap_or_else(|| RollbackSource::Unavailable {
            why: "it is neither in the package store nor in apk's cache".to_owned(),
        })
    };
    let former = |change: &Change| RollbackItem {
        change: change.clone(),
        source: source(change),
    };
    changes.iter().map(former).collect()
}

/// Whether this is `demo-1.0-r0.apk` or, as in a cache, `demo-1.0-r0.0a1b2c3d.apk`.
fn is_of(path: &Path, stem: &str) -> bool {
    let rest = || {
        path.file_name()?
            .to_str()?
            .strip_prefix(stem)?
            .strip_suffix(".apk")
    };
    rest().is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('.').is_some_and(|hash| {
                !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
    })
}

/// Puts former versions back. apk takes what was new away by itself, because no package needs it any more.
pub fn run(
    apk: &Apk,
    restore: &Restore<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionEnd> {
    restore.former.iter().try_for_each(RollbackItem::check)?;
    let changes: Vec<Change> = restore.former.iter().map(RollbackItem::undone).collect();
    let files: Vec<PathBuf> = restore
        .former
        .iter()
        .filter_map(|f| f.source.file().map(Path::to_owned))
        .collect();
    if let Some(words) = gate::ask(restore.gate, &changes, restore.log)? {
        return Ok(TransactionEnd::Failed(words));
    }
    let world = World::keep(Path::new(arguments::WORLD))?;
    let program = apk.apk.install(&files).log(restore.log);
    let ended = output::run(&program, false, observer);
    // a pin would keep the package from every later update
    world.write_back()?;
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_cache_are_told_apart() {
        let of = |name: &str| is_of(Path::new(name), "demo-1.0-r0");
        assert!(of("/c/demo-1.0-r0.apk") && of("demo-1.0-r0.0a1b2c3d.apk"));
        for other in [
            "demo-1.0-r01.apk",
            "demo-1.0-r0.x.apk",
            "demo-1.0-r0.0a1b.apk.new",
            "x",
        ] {
            assert!(!of(other), "{other}");
        }
    }
}
