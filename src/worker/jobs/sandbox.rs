//! A refresh by the timer's unit, and answers of the planner, which are sandboxed, where the package manager keeps
//! its indexes out of their reach.

use std::path::Path;
use std::{fs, thread};

use anyhow::{Result, ensure};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::host::systemd;
use crate::queue;
use crate::request::{Request, Requester};
use crate::state::job::{Job, JobStatus};
use crate::worker::bookkeeping::context::{Context, STOP_INTERVAL};
use crate::worker::bookkeeping::errors::{RefreshFailed, STOPPED};
use crate::worker::bookkeeping::in_flight::WORKER;

/// Whether the package manager would write where this process cannot, or where no other process would see it.
pub fn is_in_the_way(ctx: &Context) -> bool {
    let places = ctx.packages.refreshes_in();
    places.iter().any(|place| !is_within_reach(place))
}

/// The same of the directories without which it looks nothing up: the planner has a sandbox as well.
pub fn keeps_from_looking(ctx: &Context) -> bool {
    let places = ctx.packages.looks_up_in();
    places.iter().any(|place| !is_within_reach(place))
}

/// Has the worker refresh the index, which has no sandbox, and waits for that.
pub fn leave_to_worker(ctx: &Context) -> Result<()> {
    queue::prepare(&ctx.paths)?;
    let request = Request::refresh(Requester::at("timer", None))?;
    let id = queue::submit(&ctx.paths, &request)?;
    systemd::status(&format!("waiting for job {id}, the refresh by {WORKER}"));
    if let Err(error) = systemd::start_unit_soon(WORKER.to_owned()) {
        tracing::debug!("{WORKER} was not asked for: {error:#}");
    }
    loop {
        if let Some(job) = Job::find(&ctx.paths, &id)?.filter(Job::is_settled) {
            ensure!(job.status == JobStatus::Succeeded, RefreshFailed::of(&job));
            return Ok(());
        }
        ensure!(!ctx.stopping(), STOPPED);
        thread::sleep(STOP_INTERVAL);
    }
}

fn is_within_reach(place: &Path) -> bool {
    let mut there = place
        .ancestors()
        .filter_map(|path| path.canonicalize().ok());
    there.next().is_none_or(|path| {
        access(&path, Access::WRITE_OK) != Err(Errno::ROFS) && !is_private(&path, &mounts())
    })
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Whether a directory for temporary files is one of this unit alone (`PrivateTmp=`), by
/// `proc_pid_mountinfo(5)`: the fourth field of a line is the root of the mount, the fifth where it is.
fn is_private(path: &Path, mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, place) = (fields.next(), fields.next());
        root.is_some_and(|root| root.contains("/systemd-private-"))
            && place.is_some_and(|place| path.starts_with(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_directory_is_told_from_the_host_s() {
        let mounts = "36 35 98:0 / / rw - ext4 /dev/vda rw
37 36 98:0 /tmp/systemd-private-1-patch-refresh.service-2/tmp /tmp rw shared:1 - ext4 /dev/vda rw
";
        assert!(is_private(Path::new("/tmp/lists"), mounts));
        assert!(!is_private(Path::new("/var/lib/apt/lists"), mounts));
        assert!(!is_private(Path::new("/tmp/lists"), ""));
    }

    #[test]
    fn what_is_not_there_yet_is_looked_for_above() {
        let root = tempfile::tempdir().unwrap();
        assert!(is_within_reach(&root.path().join("a/b/c")));
    }
}
