//! Room that old kernels give up, where the configuration allows that.

use crate::host::kernel;
use crate::package::Change;
use crate::request::JobId;
use crate::state::job;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::intent::NoRoom;
use crate::worker::bookkeeping::job_result;
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::hold_off;

/// What is known of room while a transaction is tried.
#[derive(Debug, Default)]
pub struct Room {
    /// What has none.
    pub without: Vec<NoRoom>,
    /// The kernels that went to make some, once that was tried.
    removed: Option<Vec<Change>>,
}

impl Room {
    /// What went to make room.
    pub fn removed(&self) -> &[Change] {
        self.removed.as_deref().unwrap_or_default()
    }
}

/// Takes away old kernels once, where something has no room and the configuration says so; whether some went, so
/// that what has no room has to be found out again.
pub fn make_room(ctx: &Context, transaction: &JobId, room: &mut Room) -> bool {
    if !ctx.config.rollback.remove_old_kernels || room.without.is_empty() || room.removed.is_some()
    {
        return false;
    }
    let _held_off = hold_off::hold_off(ctx, &format!("job {transaction} removes old kernels"));
    let log = job::log(&ctx.paths, transaction);
    let observer = &mut Monitor::repair(ctx, transaction);
    let keep = kernel::kept(&ctx.paths);
    let removed = ctx.packages.remove_old_kernels(&keep, &log, observer);
    let removed = removed.unwrap_or_else(|error| {
        tracing::warn!("no space was freed: {error:#}");
        Vec::new()
    });
    for change in &removed {
        job_result::log_change(transaction, change);
    }
    let made = !removed.is_empty();
    if made {
        room.without.clear();
    }
    room.removed = Some(removed);
    made
}
