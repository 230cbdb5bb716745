//! dpkg by itself: it puts packages back where apt cannot run any more, and installs one again that lacks files.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::auto_marks::Marks;
use super::backend::Apt;
use super::{arguments, coexistence, contents, dpkg, locks, output};
use crate::package::repair_step::run_repair_step;
use crate::package::{Observer, PackageId, Restore, RollbackItem, RollbackSource, TransactionEnd};

/// Its name, for records.
pub const TOOL: &str = "dpkg";

/// Puts former versions back, all of whose files are on this host, and takes away what was new. The order in
/// which they are unpacked is of no matter, as none is configured before all are there: what the removals have
/// taken along is unpacked once more before that.
pub fn rollback(
    apt: &Apt,
    restore: &Restore<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionEnd> {
    let files = files(restore.former)?;
    if let Some(why) = coexistence::refusal(restore.former)? {
        bail!("{why}, so that dpkg was not used without apt");
    }
    locks::wait_until_free(&apt.dpkg, observer)?;
    if !files.is_empty() {
        run_repair_step(&dpkg::unpack_all(&files), restore.log, observer)?;
    }
    let new = |former: &&RollbackItem| former.source == RollbackSource::NewlyInstalled;
    let new: Vec<PackageId> = restore
        .former
        .iter()
        .filter(new)
        .map(|former| former.change.key())
        .collect();
    if !new.is_empty() {
        run_repair_step(&dpkg::remove(&new), restore.log, observer)?;
        let damaged = contents::damaged(apt, restore.former, restore.store)?;
        let lacking = |former: &&RollbackItem| {
            let mut damaged = damaged.iter().filter(|d| !d.missing.is_empty());
            damaged.any(|damaged| damaged.key == former.change.former_key())
        };
        let again: Vec<PathBuf> = restore
            .former
            .iter()
            .filter(lacking)
            .filter_map(|former| former.source.file().map(Path::to_owned))
            .collect();
        if !again.is_empty() {
            run_repair_step(&dpkg::unpack_all(&again), restore.log, observer)?;
        }
    }
    // what it could not do, the database says
    run_repair_step(&dpkg::configure_all(), restore.log, observer)?;
    Ok(TransactionEnd::Done)
}

/// The package files of what comes back; an error when dpkg would lack one.
fn files(former: &[RollbackItem]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for former in former
        .iter()
        .filter(|f| f.source != RollbackSource::NewlyInstalled)
    {
        former.check()?;
        match former.source.file() {
            Some(file) => files.push(file.to_owned()),
            None => bail!(
                "{} {} would have to be fetched, which dpkg cannot do without apt",
                former.change.former_key(),
                former.change.from.as_deref().unwrap_or_default()
            ),
        }
    }
    Ok(files)
}

/// Installs packages again in the version that they have, by dpkg where their files are on this host; apt
/// fetches the others once more.
pub fn install_again(
    apt: &Apt,
    restore: &Restore<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionEnd> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for former in restore.former {
        former.check()?;
        match contents::file(former, restore.store) {
            Some(file) => files.push(file),
            None => others.push(former.clone()),
        }
    }
    if !files.is_empty() {
        locks::wait_until_free(&apt.dpkg, observer)?;
        run_repair_step(&dpkg::install_files(&files), restore.log, observer)?;
    }
    if others.is_empty() {
        return Ok(TransactionEnd::Done);
    }
    let marks = Marks::read();
    let program = arguments::install_again(&others, restore.gate)
        .args(apt.settings().patience())
        .log(restore.log);
    let outcome = output::supervised(&program, &apt.dpkg, observer)?;
    marks.restore(restore.log);
    Ok(outcome.ended)
}
