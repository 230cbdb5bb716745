//! Former versions: where dpkg's packages can be had from again, and the transaction that puts them back.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::auto_marks::Marks;
use super::backend::Apt;
use super::index::{Index, IndexRecord};
use super::names::{self, ARCHIVES, file_name};
use super::{arguments, database, dpkg, output};
use crate::checksum;
use crate::package::repair_step::run_repair_step;
use crate::package::{
    Change, Database, Observer, PackageId, PackageState, Restore, RollbackItem, RollbackSource,
    StoredPackage, TransactionEnd, rollback_source,
};
use crate::sorted::InOrder;

/// How long repacking all packages together may take: the transaction, and every other process
/// that waits for the locks of dpkg, waits for it.
const REPACK_LIMIT: Duration = Duration::from_secs(180);

/// What has to be free where they are repacked: a package is first copied, then packed.
const REPACK_ROOM: u64 = 256 * 1024 * 1024;

/// Looks each former version up: in the package store, in apt's cache, in the index, and at last on the host itself.
/// Only the last two start a program, one of them for all packages together.
pub fn find(
    index: &Index,
    changes: &[Change],
    kept: &[StoredPackage],
    scratch: &Path,
) -> Result<Vec<RollbackItem>> {
    let (found, nowhere) = look_up(index, changes, kept);
    let last_resort = found.iter().any(|(_, source)| source.is_none());
    let installed = if last_resort {
        database::installed()?
    } else {
        Database::new()
    };
    let end = Instant::now() + REPACK_LIMIT;
    let repacked = |change: &Change| {
        let file = repack(change, &installed, scratch, end);
        file.unwrap_or_else(|error| RollbackSource::Unavailable {
            why: format!("{nowhere}, and {error:#}"),
        })
    };
    let former = found.into_iter().map(|(change, source)| RollbackItem {
        source: source.unwrap_or_else(|| repacked(&change)),
        change,
    });
    Ok(former.collect())
}

/// The same for versions whose files on the host are no longer all there, so that they cannot be made into a
/// package again.
pub fn find_whole(index: &Index, changes: &[Change], kept: &[StoredPackage]) -> Vec<RollbackItem> {
    let (found, nowhere) = look_up(index, changes, kept);
    let former = found.into_iter().map(|(change, source)| RollbackItem {
        source: source.unwrap_or_else(|| RollbackSource::Unavailable {
            why: nowhere.clone(),
        }),
        change,
    });
    former.collect()
}

/// What is on the disk or in an index; with a phrase about what is in neither.
fn look_up(
    index: &Index,
    changes: &[Change],
    kept: &[StoredPackage],
) -> (Vec<(Change, Option<RollbackSource>)>, String) {
    let mut nowhere = "it is not kept, not in apt's cache and in no index".to_owned();
    let mut found: Vec<(Change, Option<RollbackSource>)> = changes
        .iter()
        .map(|change| (change.clone(), on_disk(change, kept)))
        .collect();
    if found.iter().any(|(_, source)| source.is_none()) {
        // one package that is not found does not hide the others
        match index.of(changes) {
            Ok(answer) => {
                for (change, source) in &mut found {
                    if source.is_none() && is_listed(change, &answer.records) {
                        *source = Some(RollbackSource::Archive);
                    }
                }
            }
            Err(error) => {
                nowhere = format!(
                    "it is not kept and not in apt's cache, and the index cannot be asked ({error:#})"
                );
            }
        }
    }
    (found, nowhere)
}

/// A file of the former version that is on the disk already.
fn on_disk(change: &Change, kept: &[StoredPackage]) -> Option<RollbackSource> {
    let Some(version) = change.from.as_deref() else {
        return Some(RollbackSource::NewlyInstalled);
    };
    let cached = || {
        let directory = change.file.as_deref().and_then(Path::parent);
        let directory = directory.unwrap_or(Path::new(ARCHIVES));
        let file = directory.join(file_name(&change.former_key(), version));
        rollback_source::cached(change, kept, &file)
    };
    rollback_source::stored(change, kept).or_else(cached)
}

/// Whether an index lists the former version. One that is only installed is shown, too, but without a
/// checksum: pure.
fn is_listed(change: &Change, records: &[IndexRecord]) -> bool {
    let name = names::former_name(change);
    let mut records = records.iter();
    records.any(|record| {
        let is_named = record.sha256.is_some() && Some(&record.name) == name.as_ref();
        // apt would be given the version, and take whichever build it prefers
        is_named && change.rebuilt.is_none()
    })
}

/// Makes a package of what is installed, when the program for it is there and nothing speaks against it:
/// the last resort, because configuration files are packed as they are now.
fn repack(
    change: &Change,
    installed: &Database,
    scratch: &Path,
    end: Instant,
) -> Result<RollbackSource> {
    // a directory of its own: a file that is kept under that name may be one with apt's
    let own = scratch.join("repack");
    let attempt = || -> Result<RollbackSource> {
        ensure!(
            Path::new(dpkg::DPKG_REPACK).exists(),
            "dpkg-repack is not installed"
        );
        let version = change.from.as_deref().unwrap_or_default();
        ensure!(
            is_installed(change, installed),
            "it is not what is installed now"
        );
        let left = end.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "there was no time left for dpkg-repack");
        let free = rustix::fs::statvfs(scratch)?;
        ensure!(
            free.f_bavail.saturating_mul(free.f_frsize) >= REPACK_ROOM,
            "there is not enough disk space for dpkg-repack"
        );
        fs::create_dir_all(&own)?;
        let program = dpkg::repack(&change.former_key(), &own).limit(left);
        program.output_checked().context("dpkg-repack failed")?;
        // dpkg-repack leaves out the epoch, as dpkg-deb --build does
        let plain = version.split_once(':').map_or(version, |(_, rest)| rest);
        let PackageId {
            package,
            architecture,
        } = change.former_key();
        let name = format!("{package}_{plain}_{architecture}.deb");
        let file = scratch.join(&name);
        fs::rename(own.join(name), &file).context("dpkg-repack left no package")?;
        let sha256 = checksum::sha256_of_file(&file)?;
        Ok(RollbackSource::Repacked { file, sha256 })
    };
    let source = attempt();
    let _ = fs::remove_dir_all(&own);
    source
}

/// Whether what is installed, and whole, is the former version: after the update it is the new one. Pure.
fn is_installed(change: &Change, installed: &Database) -> bool {
    let now = installed.get(&change.former_key());
    now.is_some_and(|now| {
        let is_it = change.undone().other_build(now).is_none();
        Some(&now.version) == change.from.as_ref() && now.state == PackageState::Good && is_it
    })
}

/// Puts the former versions back in one transaction.
pub fn run(
    apt: &Apt,
    restore: &Restore<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionEnd> {
    for former in restore.former {
        former.check()?;
    }
    if database::is_interrupted(&apt.dpkg) {
        // apt refuses to work before that, whatever it leaves
        run_repair_step(&dpkg::configure_all(), restore.log, observer)?;
    }
    clear_cache(restore.former)?;
    let new = |former: &&RollbackItem| former.source == RollbackSource::NewlyInstalled;
    let new = restore.former.iter().filter(new);
    let marks = Marks::read().without(&new.map(|f| &*f.change.package).in_order());
    let program = arguments::rollback(restore.former, restore.gate)
        .args(apt.settings().patience())
        .log(restore.log);
    let outcome = output::supervised(&program, &apt.dpkg, observer)?;
    marks.restore(restore.log);
    match outcome.ended {
        TransactionEnd::Stopped => {
            bail!("a stop was requested while former versions were put back")
        }
        ended => Ok(ended),
    }
}

/// Takes files out of apt's cache that have the name and the size of one that is to be put back, and are
/// another one: apt would take them for it (FACTS 15).
fn clear_cache(former: &[RollbackItem]) -> Result<()> {
    for former in former {
        let (Some(file), Some(version)) = (former.source.file(), former.change.from.as_deref())
        else {
            continue;
        };
        let name = file_name(&former.change.former_key(), version);
        let there = former.change.file.as_deref().and_then(Path::parent);
        for directory in there.into_iter().chain([Path::new(ARCHIVES)]) {
            let cached = directory.join(&name);
            let same_size =
                || Some(fs::metadata(&cached).ok()?.len() == fs::metadata(file).ok()?.len());
            if cached == file || same_size() != Some(true) {
                continue;
            }
            if Some(&*checksum::sha256_of_file(&cached)?) != former.source.sha256() {
                fs::remove_file(&cached)
                    .with_context(|| format!("failed to remove '{}'", cached.display()))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_checksum_is_listed() {
        let change = Change {
            package: "a".into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: Some("2".into()),
            file: None,
            ..Change::default()
        };
        let record = |name: &str, sha256: Option<&str>| IndexRecord {
            name: name.into(),
            sha256: sha256.map(Into::into),
            ..IndexRecord::default()
        };
        let installed = record("a:all=1", None);
        let others = [record("a:all=2", Some("x")), record("a:i386=1", Some("x"))];
        assert!(!is_listed(&change, &[installed]));
        assert!(!is_listed(&change, &others));
        assert!(is_listed(&change, &[record("a:all=1", Some("x"))]));
    }

    #[test]
    fn only_what_is_installed_is_repacked() {
        let change = Change {
            package: "a".into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: Some("2".into()),
            file: None,
            ..Change::default()
        };
        let now = |version: &str, state: PackageState| {
            let installed = crate::package::Installed {
                version: version.into(),
                state,
                ..crate::package::Installed::default()
            };
            Database::from([(change.key(), installed)])
        };
        assert!(is_installed(&change, &now("1", PackageState::Good)));
        assert!(!is_installed(&change, &now("2", PackageState::Good)));
        let broken = PackageState::Broken("unpacked".into());
        assert!(!is_installed(&change, &now("1", broken)));
        assert!(!is_installed(&change, &Database::new()));
    }
}
