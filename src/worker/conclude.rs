//! After the package manager has ended: what it brought is kept, judged, and undone when it is bad.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::lifecycle::Event;
use super::settle::{Concluded, Outcome};
use super::update::Update;
use super::verify::{self, Before, Stage};
use super::{files, heal, rollback};
use crate::package::{Applied, Change, Database, Former, Kept};
use crate::paths::Paths;
use crate::request::JobId;
use crate::sorted::InOrder;
use crate::state::kept::Store;
use crate::worker::bookkeeping::context::Context;

/// Judges an activated transaction, and undoes it when it is bad and that is possible.
pub fn conclude(
    ctx: &Context,
    leader: &JobId,
    before: &Before,
    (changes, former): (&[Change], Vec<Former>),
    mut applied: Applied,
    update: &mut Update<'_>,
) -> Result<Outcome> {
    update.step(Event::Verify)?;
    keep(&ctx.paths, changes);
    let noted = files::after_update(ctx, leader, changes, &applied);
    applied.notes.extend(noted.unwrap_or_else(|error| {
        vec![format!(
            "whether the packages have all of their files could not be looked at: {error:#}"
        )]
    }));
    let mut judgement = verify::judge(
        ctx,
        leader,
        before,
        (changes, Stage::After),
        &applied.failures,
    )?;
    let rollback = if judgement.is_to_be_undone() {
        heal::or_leave_bad()?;
        rollback::after(ctx, leader, before, &former, &judgement.checks)?
    } else {
        None
    };
    let now = match rollback {
        None => Ok(std::mem::take(&mut judgement.database)),
        Some(_) => ctx.packages.installed(),
    };
    make_room(ctx, now, changes, &former);
    Ok(Outcome::Changed(Box::new(Concluded {
        judgement,
        applied,
        former,
        rollback,
        unfinished: None,
        removed: Vec::new(),
    })))
}

/// Enters what the update brought into the store. The gate has put the files there; their sums are
/// taken here, while the package manager works, or afterwards what is left of that.
pub fn keep(paths: &Paths, changes: &[Change]) {
    let mut store = Store::open(paths);
    let mut entered = false;
    for change in changes {
        let place = change.file.as_deref().and_then(|file| store.place_of(file));
        let (Some(place), Some(version)) = (place, change.to.as_deref()) else {
            continue;
        };
        let known = |store: &Store| {
            let mut kept = store.kept().iter();
            let is_other = |kept: &Kept| {
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
fn make_room(ctx: &Context, installed: Result<Database>, changes: &[Change], former: &[Former]) {
    let mut store = Store::open(&ctx.paths);
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
