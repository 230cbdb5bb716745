//! The service manager re-executes itself when an update has replaced files that it runs, and no job is left.

use anyhow::Result;

use crate::fs::write_atomically;
use crate::host::systemd;
use crate::journal;
use crate::worker::bookkeeping::context::Context;

/// Notes that the service manager is to re-execute itself: not before the job has ended, because root's
/// `systemctl start` waits for a worker on a connection that does not survive it.
pub fn intend(ctx: &Context) {
    if let Err(error) = write_atomically(&path(ctx), b"", 0o644) {
        tracing::warn!("the service manager is not re-executed: {error:#}");
    }
}

/// Has it do so when that was noted. Units of ours that are waited for come to their ends first.
pub fn ask(ctx: &Context) {
    if ctx.stopping() || !path(ctx).exists() {
        return;
    }
    let asked = take(ctx).and_then(|()| systemd::reexecute_after_workers());
    match asked {
        Ok(()) => journal::manager_reexecuted(),
        Err(error) => tracing::warn!("the service manager was not re-executed: {error:#}"),
    }
}

fn take(ctx: &Context) -> Result<()> {
    Ok(std::fs::remove_file(path(ctx))?)
}

/// Volatile, as what it is about.
fn path(ctx: &Context) -> std::path::PathBuf {
    ctx.paths.run().join("reexec")
}
