//! After going back: what the update has left is taken away where that is safe, and the rest is compared with
//! what was seen before it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::package::{Change, PackageId, RollbackItem};
use crate::request::JobId;
use crate::sorted::InOrder;
use crate::state::job;
use crate::state::verification::{Differing, PackageFiles, Stayed};
use crate::worker::bookkeeping::context::Context;
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::rollback::intent::Intent;
use crate::worker::steps::rollback::items::is_back;
use crate::worker::steps::rollback::seen::Earlier;
use crate::worker::steps::rollback::words::Compared;
use crate::worker::steps::rollback::{defaults, etc, partial, reboots};
use crate::worker::steps::verify::Baseline;

/// What was found of packages and their files after they went back.
pub struct Looked {
    /// The files of those that came back.
    pub files: Result<Vec<PackageFiles>>,
    /// Why something of those that went has stayed.
    pub stays: Vec<(PackageId, String)>,
}

/// Takes away what the packages that the update alone brought have left of their configuration, and the reasons
/// to reboot that were its own; why something of a package stays.
pub fn clear(
    ctx: &Context,
    transaction: &JobId,
    intent: &Intent,
    earlier: &Earlier,
) -> Vec<(PackageId, String)> {
    if !is_back(ctx, &intent.former) {
        return Vec::new();
    }
    let undone: Vec<Change> = intent.former.iter().map(RollbackItem::undone).collect();
    reboots::take_back(ctx, earlier, &undone, intent.begun_at);
    mark_again(ctx, transaction, earlier);
    defaults::clear(ctx, earlier, &intent.former);
    let gone = gone(ctx, intent, earlier);
    if gone.is_empty() {
        return Vec::new();
    }
    let is_new = |path: &str| {
        let etc = earlier.etc.as_ref();
        path.starts_with("/etc/") && etc.is_ok_and(|etc| !etc.contains_key(path))
    };
    let log = job::log(&ctx.paths, transaction);
    let observer = &mut Monitor::repair(ctx, transaction);
    let cleared = ctx.packages.clear_remains(&gone, &is_new, &log, observer);
    cleared.unwrap_or_else(|error| {
        let why = format!("{error:#}");
        gone.into_iter().map(|key| (key, why.clone())).collect()
    })
}

/// The packages that the update alone brought, which are gone, and of which their package manager keeps
/// something that it did not keep before.
fn gone(ctx: &Context, intent: &Intent, earlier: &Earlier) -> Vec<PackageId> {
    let was_new = |former: &&RollbackItem| former.change.from.is_none();
    let new = intent.former.iter().filter(was_new).map(|f| f.change.key());
    let mut new = new.peekable();
    if new.peek().is_none() {
        return Vec::new();
    }
    let left = ctx.packages.remains().unwrap_or_else(|error| {
        tracing::warn!("{error:#}");
        BTreeSet::new()
    });
    let before = &earlier.seen.remains;
    new.filter(|key| left.contains(key) && !before.contains(&key.to_string()))
        .collect()
}

/// Compares the host with what was seen of it before the update. `good` is what was judged of packages and
/// units, and `unrelated` packages are broken packages that were no part of it.
pub fn run(
    ctx: &Context,
    before: &Baseline,
    intent: &Intent,
    earlier: &Earlier,
    (good, unrelated, looked): (bool, &[String], &Looked),
) -> (Compared, Vec<Stayed>) {
    let mut what = vec!["versions", "states"];
    let files = looked.files.as_ref();
    let are_known = files.is_ok_and(|files| files.iter().all(|f| f.unknown.is_none()));
    if ctx.packages.compares_files() && are_known {
        what.push("files");
    }
    let marks = marks(ctx, earlier);
    if marks.is_some() {
        what.push("marks");
    }
    if before.rest.units.is_some() {
        what.push("units");
    }
    let why: BTreeMap<&PackageId, &str> = looked.stays.iter().map(|(k, w)| (k, &**w)).in_order();
    let stay = |key: PackageId| Stayed {
        reason: match why.get(&key) {
            Some(why) => (*why).to_owned(),
            None => "it was not compared".to_owned(),
        },
        package: key.package,
        architecture: key.architecture,
        version: None,
    };
    let stayed: Vec<Stayed> = gone(ctx, intent, earlier).into_iter().map(stay).collect();
    let remains = stayed.iter().map(|stayed| {
        let Stayed {
            package, reason, ..
        } = stayed;
        format!("{package} is gone but for its configuration: {reason}")
    });
    let left = partial::stayed(&intent.stays);
    let compared = Compared {
        what,
        good,
        stays: left.iter().filter_map(Stayed::words).collect(),
        marks: marks.unwrap_or_default(),
        others: remains.chain(unrelated.iter().cloned()).collect(),
        etc: etc_now(ctx, earlier),
    };
    (compared, [left, stayed].concat())
}

/// Gives packages that are there for others their marks again, which going back by their names takes away.
fn mark_again(ctx: &Context, transaction: &JobId, earlier: &Earlier) {
    let marks = earlier.seen.automatic.as_ref();
    let Some((before, now)) = marks.zip(ctx.packages.automatic()) else {
        return;
    };
    let Ok(installed) = ctx.packages.installed() else {
        return;
    };
    let is_there = |marked: &&String| installed.keys().any(|key| key.package == name_of(marked));
    let lost: Vec<String> = before.difference(&now).filter(is_there).cloned().collect();
    if lost.is_empty() {
        return;
    }
    let log = job::log(&ctx.paths, transaction);
    if let Err(error) = ctx.packages.mark_automatic(&lost, &log) {
        tracing::warn!("packages could not be marked as dependencies again: {error:#}");
    }
}

fn name_of(marked: &str) -> &str {
    marked.split(':').next().unwrap_or_default()
}

/// The packages that are marked otherwise than before; none where that cannot be told.
fn marks(ctx: &Context, earlier: &Earlier) -> Option<BTreeSet<String>> {
    let before = earlier.seen.automatic.as_ref()?;
    let now = ctx.packages.automatic()?;
    let installed = ctx.packages.installed().ok()?;
    let installed: BTreeSet<&str> = installed.keys().map(|key| &*key.package).in_order();
    let otherwise = before.symmetric_difference(&now);
    let otherwise = otherwise.map(|marked| name_of(marked));
    let is_there = |name: &&str| installed.contains(name);
    Some(otherwise.filter(is_there).map(str::to_owned).in_order())
}

fn etc_now(ctx: &Context, earlier: &Earlier) -> Result<Vec<Differing>, String> {
    let before = earlier.etc.as_ref().map_err(Clone::clone)?;
    let now = etc::read(&ctx.paths).map_err(|error| format!("{error:#}"))?;
    Ok(etc::differing(before, &now))
}
