//! Downloading ahead: a refresh also fetches what is pending, so that an update only has to install it.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::host::{clock, systemd};
use crate::package::Change;
use crate::sorted::InOrder;
use crate::state::cache::Cache;
use crate::state::pending::PendingList;
use crate::state::update::{Phase, UpdateState};
use crate::worker::bookkeeping::context::Context;
use crate::worker::model::lifecycle::{PhaseEvent, next};
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::refresh;
use crate::{checksum, journal};

/// Fetches what is pending, unless it was fetched already, and says so in the state of the update. A
/// request that comes meanwhile has the right of way; the next refresh fetches the rest. An update that
/// failed stays the latest one, whatever is fetched: the administrator has to see it.
pub fn run(ctx: &Context) -> Result<()> {
    let cache = Cache::load(&ctx.paths);
    let failed = cache.failed_sources();
    let pending = match PendingList::load(&ctx.paths) {
        Some(list) if list.is_for(&ctx.packages.fingerprint(&failed)) => list.pending,
        _ => refresh::pending(ctx, &failed)?,
    };
    let changes: Vec<Change> = pending.updates.iter().map(Change::from).collect();
    if changes.is_empty() {
        return settle(ctx, PhaseEvent::Unstage, &changes);
    }
    systemd::status("downloading pending updates ahead");
    if ctx
        .packages
        .download(&failed, &mut Monitor::download_ahead(ctx))?
    {
        settle(ctx, PhaseEvent::StageAhead, &changes)?;
    }
    Ok(())
}

/// Writes down what the update is now, where that is news.
fn settle(ctx: &Context, event: PhaseEvent, changes: &[Change]) -> Result<()> {
    let known = UpdateState::load(&ctx.paths);
    // in another phase there is a result to be seen, or nothing to take back
    let Ok(phase) = next(known.phase, event) else {
        return Ok(());
    };
    let now = clock::now();
    let mut state = UpdateState {
        phase,
        started_at: Some(now),
        updated_at: Some(now),
        last_success_at: known.last_success_at,
        ..UpdateState::default()
    };
    state.set_versions(changes);
    state.staged = (phase == Phase::Staged).then(|| checksum_of(changes));
    if (known.phase, &known.staged) == (state.phase, &state.staged) {
        return Ok(());
    }
    state.save(&ctx.paths)?;
    if state.phase == Phase::Staged {
        journal::staged(changes.len());
    }
    Ok(())
}

/// What tells one set of changes from another, of the same size, too.
fn checksum_of(changes: &[Change]) -> String {
    let line = |change: &Change| {
        let version = |version: &Option<String>| version.clone().unwrap_or_default();
        let builds = change.rebuilt.as_ref();
        let build = builds.and_then(|builds| builds.to.clone());
        let (from, to) = (version(&change.from), version(&change.to));
        format!(
            "{} {from} {to} {}\n",
            change.key(),
            build.unwrap_or_default()
        )
    };
    let lines: BTreeSet<String> = changes.iter().map(line).in_order();
    checksum::sha256(lines.into_iter().collect::<String>().as_bytes())
}
