//! Room that old kernels give up, where the configuration allows that.

use super::NoRoom;
use crate::host::kernel;
use crate::package::Change;
use crate::request::JobId;
use crate::state::job;
use crate::worker::progress::Repairing;
use crate::worker::{Worker, reboot, settle};

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
pub fn make_room(worker: &Worker, leader: &JobId, room: &mut Room) -> bool {
    if !worker.config.rollback.remove_old_kernels
        || room.without.is_empty()
        || room.removed.is_some()
    {
        return false;
    }
    let _held_off = reboot::hold_off(worker, &format!("job {leader} removes old kernels"));
    let log = job::log(&worker.paths, leader);
    let observer = &mut Repairing::new(worker, leader);
    let keep = kernel::kept(&worker.paths);
    let removed = worker.packages.remove_old_kernels(&keep, &log, observer);
    let removed = removed.unwrap_or_else(|error| {
        tracing::warn!("no room was made: {error:#}");
        Vec::new()
    });
    for change in &removed {
        settle::tell_change(leader, change);
    }
    let made = !removed.is_empty();
    if made {
        room.without.clear();
    }
    room.removed = Some(removed);
    made
}
