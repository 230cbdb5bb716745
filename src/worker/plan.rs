//! What a transaction is to install, and what the gate is told of it.

use std::time::SystemTime;

use anyhow::{Result, bail};

use super::gate::{Expectation, expectation};
use super::space::{self, NoRoom};
use super::{block, own, reboot, refresh, select};
use crate::PACKAGE;
use crate::fs::write_atomically;
use crate::package::{Change, KeptBack, Selection, Source, Update};
use crate::request::{JobId, Target};
use crate::state::blocked::Blocked;
use crate::state::job::Job;
use crate::state::pending::PendingList;
use crate::worker::bookkeeping::context::Context;

/// What of that which the jobs ask for one transaction is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it. Our own package is taken out if it is among others.
    Whole,
    /// The same, after the package manager was about to change our own package among others.
    Listed,
    /// Our own package, after the others.
    Own,
}

/// What to install.
pub struct Plan {
    pub selection: Selection,
    pub kept_back: Vec<KeptBack>,
    /// Whether our own package was taken out.
    pub own_follows: bool,
    /// What has no room, as far as that is known.
    pub without: Vec<NoRoom>,
}

/// What to install: everything that is due, or exactly what the jobs name and that needs.
pub fn selection(
    ctx: &Context,
    jobs: &[Job],
    failed: &[&Source],
    (part, without): (Part, &[NoRoom]),
) -> Result<Plan> {
    let everything = jobs
        .iter()
        .any(|job| job.request.packages == Some(Target::All));
    let fingerprint = ctx.packages.fingerprint(failed);
    let list = PendingList::load(&ctx.paths).filter(|list| list.is_for(&fingerprint));
    let mut list = list.map(|list| list.pending);
    if part == Part::Whole
        && everything
        && without.is_empty()
        && Blocked::load_to_change(&ctx.paths).is_empty()
    {
        let early = list.as_ref().map(|list| early(ctx, &list.updates, failed));
        let mut told = early.is_some_and(|early| !early.is_empty())
            || ctx.packages.must_be_told(list.as_ref(), failed)?;
        if told && list.is_none() {
            list = Some(refresh::pending(ctx, failed)?);
            told = ctx.packages.must_be_told(list.as_ref(), failed)?;
        }
        if !told {
            return Ok(Plan {
                selection: Selection::Everything,
                kept_back: Vec::new(),
                own_follows: false,
                without: Vec::new(),
            });
        }
    }
    let pending = match list {
        Some(list) => list,
        None => refresh::pending(ctx, failed)?,
    };
    let for_security = |job: &Job| job.request.packages == Some(Target::Security);
    if jobs.iter().any(for_security)
        && let Some(why) = ctx.packages.no_security()?
    {
        bail!("it is not known which updates are for security: {why}");
    }
    let mut selected = select::selected(jobs, &pending);
    if part == Part::Own {
        selected.retain(|update| update.package == PACKAGE);
    }
    let mut kept_back = pending.kept_back;
    let own_follows = match part {
        Part::Own => None,
        Part::Whole | Part::Listed => own::others_of(ctx, &selected, failed)?,
    };
    let (updates, kept, without) = match &own_follows {
        Some(others) if without.is_empty() => (others.clone(), Vec::new(), Vec::new()),
        Some(others) => with_room(ctx, others, failed, without)?,
        None if selected.is_empty() => (selected, Vec::new(), without.to_vec()),
        None => with_room(ctx, &selected, failed, without)?,
    };
    kept_back.extend(kept);
    Ok(Plan {
        selection: Selection::Exactly(updates),
        kept_back,
        own_follows: own_follows.is_some(),
        without,
    })
}

/// The plan without what has no room: what is known of that, and for kernels also what can be foreseen before
/// anything is fetched.
pub fn with_room(
    ctx: &Context,
    selected: &[Update],
    failed: &[&Source],
    without: &[NoRoom],
) -> Result<(Vec<Update>, Vec<KeptBack>, Vec<NoRoom>)> {
    let (updates, kept) = block::plan(ctx, selected, failed, without)?;
    let early = early(ctx, &updates, failed);
    if early.is_empty() {
        return Ok((updates, kept, without.to_vec()));
    }
    let without = [without, &early].concat();
    let (updates, kept) = block::plan(ctx, selected, failed, &without)?;
    Ok((updates, kept, without))
}

/// What will have no room of updates with a kernel, by the sizes of the index and of what is in /boot. It costs
/// a question to the index, which other updates can be spared: the gate counts what was fetched.
fn early(ctx: &Context, updates: &[Update], failed: &[&Source]) -> Vec<NoRoom> {
    if updates
        .iter()
        .any(|update| space::is_for_boot(&update.package))
    {
        short(ctx, &Selection::Exactly(updates.to_vec()), failed)
    } else {
        Vec::new()
    }
}

/// What of a selection has no room, by the package files that are in the caches; nothing where that cannot be told.
pub fn short(ctx: &Context, selection: &Selection, failed: &[&Source]) -> Vec<NoRoom> {
    let packages = &*ctx.packages;
    let updates = match selection {
        Selection::Exactly(updates) => Ok(updates.clone()),
        Selection::Everything => packages.pending(failed).map(|pending| pending.updates),
    };
    let short = updates.and_then(|updates| space::short(packages, &packages.fetched(&updates)));
    short.unwrap_or_else(|error| {
        tracing::debug!("whether there is room was not looked at: {error:#}");
        Vec::new()
    })
}

/// Whether it is known that nothing is due: the list of what is pending still holds, and is empty.
pub fn is_nothing_due(ctx: &Context, failed: &[&Source]) -> bool {
    let list = PendingList::load(&ctx.paths).filter(|list| list.pending.updates.is_empty());
    list.is_some_and(|list| list.is_for(&ctx.packages.fingerprint(failed)))
}

/// Leaves for the gate what it may let through.
pub fn expect(ctx: &Context, leader: &JobId, jobs: &[Job], selection: &Selection) -> Result<()> {
    let plan = match selection {
        Selection::Everything => None,
        Selection::Exactly(updates) => Some(updates.iter().map(Change::from).collect()),
    };
    let expected = Expectation {
        since: Some(SystemTime::now()),
        plan,
        require_rollback: ctx.config.rollback.require,
        foreign_shutdown: reboot::policy(ctx, jobs),
    };
    let bytes = serde_json::to_vec(&expected)?;
    write_atomically(&expectation(&ctx.paths, leader), &bytes, 0o600)
}
