//! The files of packages, held against their package files after changes: with a package that goes, or that lets
//! go of them, files go that it had taken over from another, and no database shows it.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::journal;
use crate::package::{
    Change, Damaged, Database, PackageId, PackageState, Restore, RollbackItem, RollbackSource,
    StoredPackage, TransactionEnd, TransactionReport,
};
use crate::request::JobId;
use crate::sorted::InOrder;
use crate::state::job;
use crate::state::package_store::PackageStore;
use crate::state::verification::{NAMED_FILES, PackageFiles};
use crate::worker::bookkeeping::context::Context;
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::gate;

/// Looks at packages, installs those once more that lack files, and says what was found and what is left.
/// Contents that differ were written by the package's own scripts, unless the changes were `interrupted`: then the
/// package manager may have left a file half-written.
pub fn make_whole(
    ctx: &Context,
    transaction: &JobId,
    packages: &[RollbackItem],
    interrupted: bool,
    install_again: &dyn Fn(&[RollbackItem]) -> Result<()>,
) -> Result<Vec<PackageFiles>> {
    let first = damaged(ctx, packages)?;
    let is_lacking = |damaged: &Damaged| {
        !damaged.missing.is_empty() || interrupted && !damaged.differing.is_empty()
    };
    let is_to_be_mended = |former: &&RollbackItem| {
        let mut found = first.iter().filter(|damaged| is_of(damaged, former));
        found.any(is_lacking) && former.check().is_ok()
    };
    let lacking: Vec<RollbackItem> = packages.iter().filter(is_to_be_mended).cloned().collect();
    if lacking.is_empty() {
        return Ok(first.iter().map(as_found).collect());
    }
    if let Err(error) = install_again(&lacking) {
        tracing::warn!("packages that lack files were not installed again: {error:#}");
    }
    let second = damaged(ctx, &lacking)?;
    let second: BTreeMap<PackageId, &Damaged> =
        second.iter().map(|d| (d.key.clone(), d)).in_order();
    let files = first.iter().map(|damaged| {
        let is_again = lacking.iter().any(|former| is_of(damaged, former));
        if !is_again {
            return as_found(damaged);
        }
        let files = package_files(damaged, true, second.get(&damaged.key).copied());
        log_files(transaction, &files);
        files
    });
    Ok(files.collect())
}

/// Only looks at packages.
pub fn compare(ctx: &Context, packages: &[RollbackItem]) -> Result<Vec<PackageFiles>> {
    let found = damaged(ctx, packages)?;
    Ok(found.iter().map(as_found).collect())
}

/// What is still missing of these, a sentence each.
pub fn still_missing(files: &[PackageFiles]) -> Vec<String> {
    let sentence = |files: &PackageFiles| {
        let first = files.still_missing.first()?;
        let more = match files.still_missing.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("{first}{more} of {} is still missing", name(files)))
    };
    files.iter().filter_map(sentence).collect()
}

/// Package and version, for a message.
pub fn name(files: &PackageFiles) -> String {
    let PackageFiles {
        package,
        architecture,
        version,
        ..
    } = files;
    format!("{package}:{architecture} {version}")
}

/// After an update whose package manager said, or has had no chance to say, that a package did not get a file
/// because another one had it, which has let go of it since. Packages that lack files are installed once more; what
/// an administrator should know of it.
pub fn after_update(
    ctx: &Context,
    transaction: &JobId,
    changes: &[Change],
    applied: &TransactionReport,
) -> Result<Vec<String>> {
    let interrupted =
        applied.interrupted || matches!(applied.ended, TransactionEnd::Interrupted(_));
    if !interrupted && !applied.displaced {
        return Ok(Vec::new());
    }
    let packages = arrived(ctx, changes, &ctx.packages.installed()?);
    let again = |lacking: &[RollbackItem]| install_again(ctx, transaction, lacking);
    let files = make_whole(ctx, transaction, &packages, interrupted, &again)?;
    let mended = files.iter().filter(|files| files.reinstalled).map(|files| {
        let found = files.missing.iter().chain(&files.differing).next();
        let found = found.map(String::as_str).unwrap_or_default();
        let name = name(files);
        format!("{name} lacked files, such as {found}, and was installed once more")
    });
    Ok(mended.chain(still_missing(&files)).collect())
}

/// The packages that have the version they were to get, each with where its package file may lie.
fn arrived(ctx: &Context, changes: &[Change], now: &Database) -> Vec<RollbackItem> {
    let store = PackageStore::open(&ctx.paths);
    let arrived = |change: &Change| {
        let (key, to) = (change.key(), change.to.as_ref()?);
        let now = now.get(&key)?;
        let is_there = now.version == *to && now.state == PackageState::Good;
        let place = change.file.as_deref().and_then(|file| store.place_of(file));
        let is_it = |kept: &&StoredPackage| kept.key() == key && kept.version == *to;
        let kept = || store.kept().iter().filter(is_it);
        let in_place = kept().find(|kept| Some(&kept.file) == place.as_ref());
        // of two builds of one version, only what came with the change is sure to be the new one
        let any = || kept().next().filter(|_| change.rebuilt.is_none());
        let kept = in_place.or_else(any);
        let source = kept.map_or(RollbackSource::Archive, |kept| RollbackSource::Stored {
            file: kept.file.clone(),
            sha256: kept.sha256.clone(),
        });
        let change = Change {
            from: change.to.clone(),
            former_architecture: None,
            rebuilt: None,
            ..change.clone()
        };
        is_there.then_some(RollbackItem { change, source })
    };
    changes.iter().filter_map(arrived).collect()
}

/// Those that would have to be fetched once more are left as they are: the gate stays shut behind an update.
fn install_again(ctx: &Context, transaction: &JobId, lacking: &[RollbackItem]) -> Result<()> {
    let program = gate::program(&ctx.paths)?;
    let arguments = gate::arguments(transaction);
    let store = PackageStore::open(&ctx.paths);
    let restore = Restore {
        former: lacking,
        log: &job::log(&ctx.paths, transaction),
        gate: (&program, &arguments),
        store: store.directory(),
    };
    let observer = &mut Monitor::repair(ctx, transaction);
    ctx.packages.install_again(&restore, observer)?;
    Ok(())
}

fn damaged(ctx: &Context, packages: &[RollbackItem]) -> Result<Vec<Damaged>> {
    let store = PackageStore::open(&ctx.paths);
    ctx.packages.damaged(packages, store.directory())
}

fn is_of(damaged: &Damaged, former: &RollbackItem) -> bool {
    damaged.key == former.change.former_key()
}

/// As it stands in the record, where nothing was done about it.
fn as_found(damaged: &Damaged) -> PackageFiles {
    package_files(damaged, false, Some(damaged))
}

/// As it stands in the record, with what is left of it.
fn package_files(damaged: &Damaged, reinstalled: bool, left: Option<&Damaged>) -> PackageFiles {
    let named = |files: &[String]| files.iter().take(NAMED_FILES).cloned().collect();
    PackageFiles {
        package: damaged.key.package.clone(),
        architecture: damaged.key.architecture.clone(),
        version: damaged.version.clone(),
        missing: named(&damaged.missing),
        differing: named(&damaged.differing),
        reinstalled,
        still_missing: left.map_or_else(Vec::new, |left| named(&left.missing)),
        unknown: left.and_then(|left| left.unknown.clone()),
    }
}

fn log_files(transaction: &JobId, files: &PackageFiles) {
    let found: Vec<&str> = files
        .missing
        .iter()
        .chain(&files.differing)
        .map(String::as_str)
        .collect();
    let is_whole = files.still_missing.is_empty() && files.unknown.is_none();
    let (package, architecture) = (&files.package, &files.architecture);
    journal::files_restored(transaction, package, architecture, &found, is_whole);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged(missing: &[&str]) -> Damaged {
        Damaged {
            key: PackageId {
                package: "a".into(),
                architecture: "all".into(),
            },
            version: "1".into(),
            missing: missing.iter().map(ToString::to_string).collect(),
            differing: Vec::new(),
            unknown: None,
        }
    }

    #[test]
    fn what_is_mended_is_told_and_is_missing_no_more() {
        let found = damaged(&["/x", "/y"]);
        let mended = package_files(&found, true, None);
        assert!(mended.reinstalled && mended.still_missing.is_empty());
        assert_eq!(mended.missing, ["/x", "/y"]);
        let left = as_found(&found);
        let half = package_files(&found, true, Some(&damaged(&["/y"])));
        assert_eq!(
            still_missing(&[mended, left, half]),
            [
                "/x and 1 more of a:all 1 is still missing",
                "/y of a:all 1 is still missing",
            ]
        );
    }

    #[test]
    fn not_every_file_is_named() {
        let missing: Vec<String> = (0..=NAMED_FILES).map(|n| format!("/{n}")).collect();
        let many = Damaged {
            missing,
            ..damaged(&[])
        };
        assert_eq!(as_found(&many).missing.len(), NAMED_FILES);
    }
}
