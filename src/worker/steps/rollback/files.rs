//! The files of the packages that came back: only with all of them the host is as it was before.

use anyhow::Result;

use crate::package::RollbackItem;
use crate::request::JobId;
use crate::state::verification::PackageFiles;
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::files;
use crate::worker::steps::rollback::intent::Intent;
use crate::worker::steps::rollback::items::due;
use crate::worker::steps::rollback::restore::{self, Way};

/// Installs those packages once more that lack files, and says what was found and what is left.
pub fn make_whole(
    ctx: &Context,
    transaction: &JobId,
    intent: &Intent,
) -> Result<Vec<PackageFiles>> {
    let back = back(ctx, intent)?;
    let again =
        |lacking: &[RollbackItem]| restore::run(ctx, transaction, intent, lacking, Way::Again);
    files::make_whole(ctx, transaction, &back, intent.resumed, &again)
}

/// Only looks, where nothing is changed any more.
pub fn compare(ctx: &Context, intent: &Intent) -> Result<Vec<PackageFiles>> {
    files::compare(ctx, &back(ctx, intent)?)
}

/// What speaks against the host being as it was before, a sentence each.
pub fn against(files: &[PackageFiles]) -> Vec<String> {
    let unknown = files.iter().filter_map(|of_package| {
        let why = of_package.unknown.as_ref()?;
        let name = files::name(of_package);
        Some(format!("the files of {name} could not be compared: {why}"))
    });
    files::still_missing(files)
        .into_iter()
        .chain(unknown)
        .collect()
}

/// The packages whose former version is there now, and those that have lost files to what was undone.
fn back(ctx: &Context, intent: &Intent) -> Result<Vec<RollbackItem>> {
    let now = ctx.packages.installed()?;
    let due = due(&intent.former, &now);
    let all = intent.former.iter().chain(&intent.overwritten);
    let is_there = |former: &&RollbackItem| {
        !due.contains(former) && now.contains_key(&former.change.former_key())
    };
    Ok(all.filter(is_there).cloned().collect())
}
