//! Whether the host goes down, in which case what is begun is left for the next boot.

use std::time::Duration;

use anyhow::Result;

use crate::exec::{Line, Program};
use crate::host::{logind, systemd};
use crate::state::reboot::TIMER;
use crate::state::shutdown::scheduled;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::errors::DeferredToNextBoot;
use crate::worker::bookkeeping::shutdown;

/// An error when the rest is for the next boot to do.
pub fn bail_if_shutting_down(ctx: &Context) -> Result<()> {
    let left = ctx.stopping() && is_going_down();
    if left {
        Err(DeferredToNextBoot.into())
    } else {
        Ok(())
    }
}

/// An error when what was found bad may only look so, because the host goes down: services end in any
/// order, and this worker need not be the first to be told.
pub fn bail_if_shutdown_explains() -> Result<()> {
    if is_going_down() {
        Err(DeferredToNextBoot.into())
    } else {
        Ok(())
    }
}

/// Whether the host is being shut down. systemctl(1) asks the service manager directly, which is needed:
/// the bus may be gone already.
pub fn is_going_down() -> bool {
    let mut state = String::new();
    let program = Program::new("/usr/bin/systemctl").arg("is-system-running");
    // every state but `running` has an exit code of its own
    let asked = program.limit(ASKING).run(&mut |line: Line<'_>| {
        if let Line::Output(text) = line {
            text.clone_into(&mut state);
        }
    });
    asked.is_ok() && state == "stopping"
}

/// How long the service manager is waited for.
pub const ASKING: Duration = Duration::from_secs(10);

/// Cancels the shutdown that is scheduled, by logind or by a timer of ours where there is no logind.
pub fn cancel_scheduled() -> Result<()> {
    let by_logind = logind::cancel_shutdown();
    let timer = systemd::stop_unit(TIMER);
    by_logind.or_else(|error| timer.map_err(|_| error))
}

/// Whether a reboot of ours is scheduled at this moment.
pub fn is_scheduled(ctx: &Context) -> bool {
    shutdown::scheduled(&ctx.paths).is_some_and(|shutdown| shutdown.ours)
}
