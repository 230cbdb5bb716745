//! Former versions, put aside before the first file changes: where each could be had from, and that it is still
//! there when it is needed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::package::{
    Change, Database, PackageManager, RollbackItem, RollbackSource, StoredPackage, of_build,
};
use crate::paths::Paths;
use crate::sorted::InOrder;
use crate::state::package_store::PackageStore;
use crate::worker::bookkeeping::context::Context;

/// Fills in which builds a change is about that has the same version before and after.
pub fn know_builds(packages: &dyn PackageManager, changes: &mut [Change]) {
    if changes.iter().all(|change| change.rebuilt.is_none()) {
        return;
    }
    let now = packages.installed().unwrap_or_else(|error| {
        tracing::warn!("the installed builds are not known: {error:#}");
        Database::new()
    });
    for change in changes {
        let (key, file) = (change.key(), change.file.clone());
        let Some(rebuilt) = &mut change.rebuilt else {
            continue;
        };
        rebuilt.from = now.get(&key).and_then(|now| now.build.clone());
        if let Some(file) = file {
            rebuilt.to = packages.build_of(&file).unwrap_or_else(|error| {
                tracing::warn!("the build to be installed is not known: {error:#}");
                None
            });
        }
    }
}

/// Finds out where each former version could be had from, and takes care that it and the new one
/// are still there when they are needed: others may clean up the package manager's cache as soon as
/// the transaction is through.
pub fn prepare_rollback(
    paths: &Paths,
    packages: &dyn PackageManager,
    changes: &[Change],
) -> Vec<RollbackItem> {
    let mut former = aside(paths, packages, changes, &[]);
    if let Err(error) = make_way(&mut PackageStore::open(paths), &mut former) {
        tracing::warn!("{error:#}");
    }
    let store = PackageStore::open(paths);
    for file in changes.iter().filter_map(|change| change.file.as_deref()) {
        if let Err(error) = store.hold(file) {
            tracing::warn!("{error:#}");
        }
    }
    former
}

/// Where each former version could be had from; what lies in a place that others may clean up is put
/// aside. `earlier` are the answers at an earlier time, which tell several builds of one version apart.
pub fn aside(
    paths: &Paths,
    packages: &dyn PackageManager,
    changes: &[Change],
    earlier: &[RollbackItem],
) -> Vec<RollbackItem> {
    let mut store = PackageStore::open(paths);
    if let Err(error) = learn_builds(&mut store, packages, changes) {
        tracing::warn!("{error:#}");
    }
    let kept = candidates(store.kept(), packages, changes, earlier);
    let mut former = packages
        .rollback_items(changes, &kept, store.directory())
        .unwrap_or_else(|error| unknown(changes, &error));
    // an update is not held up by what only the next one needs
    if let Err(error) = put_aside(&mut store, &mut former) {
        tracing::warn!("{error:#}");
    }
    former
}

/// Looks which build a file that we keep is, where there are several of one version or will be.
fn learn_builds(
    store: &mut PackageStore,
    packages: &dyn PackageManager,
    changes: &[Change],
) -> Result<()> {
    let is_former = |kept: &StoredPackage, change: &Change| {
        change.former_key() == kept.key() && change.from.as_ref() == Some(&kept.version)
    };
    let mut learnt = Vec::new();
    for change in changes {
        let of_change = store.kept().iter().filter(|kept| is_former(kept, change));
        let of_change: Vec<&StoredPackage> = of_change.collect();
        if of_change.len() < 2 && change.rebuilt.is_none() {
            continue;
        }
        for kept in of_change.iter().filter(|kept| kept.build.is_none()) {
            // one that is gone or spoilt is passed over later
            if let Ok(Some(build)) = packages.build_of(&kept.file) {
                learnt.push((kept.file.clone(), build));
            }
        }
    }
    if learnt.is_empty() {
        return Ok(());
    }
    for (file, build) in learnt {
        store.know_build(&file, build);
    }
    store.save()
}

/// Of several builds of a former version, only the one that was or is installed.
fn candidates(
    kept: &[StoredPackage],
    packages: &dyn PackageManager,
    changes: &[Change],
    earlier: &[RollbackItem],
) -> Vec<StoredPackage> {
    let mut installed = None;
    of_build(kept, changes, |change, kept| {
        if let Some(from) = change.rebuilt.as_ref().and_then(|r| r.from.as_ref()) {
            return kept.build.as_ref() == Some(from);
        }
        let known = earlier.iter().find(|former| former.change == *change);
        if let Some(sha256) = known.and_then(|former| former.source.sha256()) {
            return kept.sha256 == sha256;
        }
        let now = installed.get_or_insert_with(|| packages.installed().unwrap_or_default());
        let now = now.get(&change.former_key());
        let now = now.filter(|now| now.version == kept.version);
        now.is_none_or(|now| now.build == kept.build)
    })
}

/// Takes those former versions into the store that lie somewhere else.
fn put_aside(store: &mut PackageStore, former: &mut [RollbackItem]) -> Result<()> {
    let mut entered = false;
    for former in former {
        let (RollbackSource::Cached { file, .. } | RollbackSource::Repacked { file, .. }) =
            &former.source
        else {
            continue;
        };
        let place = store.hold(file)?;
        let version = former.change.from.as_deref().unwrap_or_default();
        store.enter(&former.change.former_key(), version, &place)?;
        if let Some(build) = former.change.rebuilt.as_ref().and_then(|r| r.from.clone()) {
            store.know_build(&place, build);
        }
        entered = true;
        former.source = former.source.clone().moved(place);
    }
    if entered { store.save() } else { Ok(()) }
}

/// Gives those former versions another name in the store that lie where the new file of the same version will.
fn make_way(store: &mut PackageStore, former: &mut [RollbackItem]) -> Result<()> {
    for former in former.iter_mut().filter(|f| f.change.rebuilt.is_some()) {
        let coming = former.change.file.as_deref();
        let place = coming.and_then(|file| store.place_of(file));
        let (Some(file), Some(sha256)) = (former.source.file(), former.source.sha256()) else {
            continue;
        };
        if Some(file) == place.as_deref() {
            let other = store.rename(file, sha256)?;
            former.source = former.source.clone().moved(other);
        }
    }
    Ok(())
}

fn unknown(changes: &[Change], error: &anyhow::Error) -> Vec<RollbackItem> {
    let why = format!("it could not be looked for: {error:#}");
    let former = |change: &Change| RollbackItem {
        change: change.clone(),
        source: RollbackSource::Unavailable { why: why.clone() },
    };
    changes.iter().map(former).collect()
}

/// Enters what the update brought into the store. The gate has put the files there; their sums are
/// taken here, while the package manager works, or afterwards what is left of that.
pub fn keep(paths: &Paths, changes: &[Change]) {
    let mut store = PackageStore::open(paths);
    let mut entered = false;
    for change in changes {
        let place = change.file.as_deref().and_then(|file| store.place_of(file));
        let (Some(place), Some(version)) = (place, change.to.as_deref()) else {
            continue;
        };
        let known = |store: &PackageStore| {
            let mut kept = store.kept().iter();
            let is_other = |kept: &StoredPackage| {
                let build = change.rebuilt.as_ref().and_then(|r| r.to.as_ref());
                change.rebuilt.is_some() && kept.build.as_ref() != build
            };
            kept.any(|kept| kept.file == place && kept.version == version && !is_other(kept))
        };
        if known(&store) || !place.exists() {
            continue;
        }
        match store.enter(&change.key(), version, &place) {
            Ok(()) => {
                entered = true;
                if let Some(build) = change.rebuilt.as_ref().and_then(|r| r.to.clone()) {
                    store.know_build(&place, build);
                }
            }
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
    if entered && let Err(error) = store.save() {
        tracing::warn!("{error:#}");
    }
}

/// Throws away kept packages beyond the limit, but for those that this update needs to be undone.
pub fn make_room(
    ctx: &Context,
    installed: Result<Database>,
    changes: &[Change],
    former: &[RollbackItem],
) {
    let mut store = PackageStore::open(&ctx.paths);
    let new = changes.iter().filter_map(|change| change.file.as_deref());
    let needed: BTreeSet<PathBuf> = former
        .iter()
        .filter_map(|former| former.source.file().map(Path::to_owned))
        .chain(new.filter_map(|file| store.place_of(file)))
        .in_order();
    let limit = ctx.config.rollback.keep_size;
    let made = installed.and_then(|installed| store.evict(limit, &installed, &needed));
    if let Err(error) = made {
        tracing::warn!("{error:#}");
    }
}
