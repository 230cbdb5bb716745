//! Commands to the worker that change no package.

use anyhow::Result;

use crate::journal;
use crate::request::JobId;
use crate::state::blocked::Blocked;
use crate::state::pending::PendingList;
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::refresh;

/// The administrator wants what this job had installed to be offered again.
pub fn forget(ctx: &Context, job: &JobId) {
    let mut blocked = Blocked::load_to_change(&ctx.paths);
    if !blocked.forget(job) {
        return;
    }
    let offered = blocked.save(&ctx.paths).and_then(|()| {
        journal::unblocked(job, "a user has asked for that");
        forget_list(ctx)?;
        refresh::list_pending(ctx)
    });
    if let Err(error) = offered {
        tracing::error!("{error:#}");
    }
}

/// Marks the list of pending updates as out of date.
pub fn forget_list(ctx: &Context) -> Result<()> {
    match PendingList::load(&ctx.paths) {
        Some(mut list) => {
            list.fingerprint = None;
            list.save(&ctx.paths).map(drop)
        }
        None => Ok(()),
    }
}
