//! What was rolled back is not tried again as it was: set, lapsed, forgotten.

use anyhow::Result;
use serde_json::Map;

use crate::host::clock;
use crate::journal;
use crate::package::{Change, Pending};
use crate::request::JobId;
use crate::state::blocked::{Block, Blocked};
use crate::worker::bookkeeping::context::Context;

/// Who decided that changes are rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The verification of the update.
    Verification,
    /// An administrator, who has asked for it.
    Hand,
}

/// Does not offer these changes again.
pub fn set(ctx: &Context, job: &JobId, changes: Vec<Change>, by: By, reason: &str) {
    let shown: Vec<String> = changes
        .iter()
        .filter_map(|change| Some(format!("{}={}", change.key(), change.to.as_ref()?)))
        .collect();
    let mut blocked = Blocked::load_to_change(&ctx.paths);
    blocked.forget(job);
    blocked.sets.push(Block {
        job: job.clone(),
        at: clock::now(),
        reason: journal::plain(reason),
        by_hand: by == By::Hand,
        changes,
        other: Map::new(),
    });
    match blocked.save(&ctx.paths) {
        Ok(()) => journal::blocked(job, &shown.join(" ")),
        Err(error) => tracing::error!("{error:#}"),
    }
}

/// What is offered of what is pending. Where a newer version has come, what was rolled back is free again.
pub fn offered(ctx: &Context, pending: Pending) -> Result<Pending> {
    let mut blocked = Blocked::load_to_change(&ctx.paths);
    if blocked.is_empty() {
        return Ok(pending);
    }
    let over = blocked.lapse(&pending);
    if !over.is_empty() {
        blocked.save(&ctx.paths)?;
    }
    for set in over {
        journal::unblocked(&set.job, "there is another version of one of its packages");
    }
    Ok(blocked.offered(pending))
}
