//! Healing a package database that somebody left interrupted: another program before us, or the package
//! manager that we started and that was killed.

use std::time::Duration;

use anyhow::Result;

use super::progress::{Quiet, Repairing};
use super::reboot;
use crate::exec::{Line, Program};
use crate::journal;
use crate::package::{Change, Ended, Observer, Report};
use crate::request::JobId;
use crate::state::job;
use crate::worker::bookkeeping::context::Context;

/// How long the service manager is waited for.
const ASKING: Duration = Duration::from_secs(10);

/// Before a transaction: heals what keeps the package manager from working at all, and tries to configure what
/// is left half-configured, which the administrator may have mended. What cannot be healed is said; the package
/// manager then says the same in its own words.
pub fn before(ctx: &Context, leader: &JobId) -> Result<()> {
    let packages = &ctx.packages;
    if !packages.is_interrupted()? && !packages.is_unconfigured()? {
        return Ok(());
    }
    // it may only be in somebody's hands at this moment
    packages.wait_until_idle(&mut Quiet::new(ctx, Some(leader)))?;
    if packages.is_interrupted()? {
        let _held_off = reboot::hold_off(ctx, &format!("job {leader} repairs packages"));
        repair(ctx, leader, &[]);
    } else if packages.is_unconfigured()? {
        let _held_off = reboot::hold_off(ctx, &format!("job {leader} configures packages"));
        let log = job::log(&ctx.paths, leader);
        packages.configure(&log, &mut Repairing::new(ctx, leader))?;
    }
    Ok(())
}

/// After a transaction that did not come to its end by itself: what outlived it may still be at work and
/// is waited for, the rest is repaired, so that what is judged is what stays.
pub fn after(ctx: &Context, leader: &JobId, changes: &[Change], ended: &Ended) -> Result<()> {
    if !matches!(ended, Ended::Interrupted(_)) && !ctx.packages.is_interrupted()? {
        return Ok(());
    }
    ctx.packages.wait_until_idle(&mut Unstoppable)?;
    repair(ctx, leader, changes);
    Ok(())
}

/// The host is going down. Nothing can be started any more (measured: a maintainer script that restarts its
/// service fails), and services end all around, so that neither repairing, nor judging, nor going back
/// would be fair. The job is left as an interrupted one is, and the next boot ends it.
#[derive(Debug)]
pub struct LeftForBoot;

impl std::fmt::Display for LeftForBoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the host is going down; what is left of the update is finished at the next boot",
        )
    }
}

impl std::error::Error for LeftForBoot {}

/// An error when the rest is for the next boot to do.
pub fn or_leave(ctx: &Context) -> Result<()> {
    let left = ctx.stopping() && is_going_down();
    if left {
        Err(LeftForBoot.into())
    } else {
        Ok(())
    }
}

/// An error when what was found bad may only look so, because the host goes down: services end in any
/// order, and this worker need not be the first to be told.
pub fn or_leave_bad() -> Result<()> {
    if is_going_down() {
        Err(LeftForBoot.into())
    } else {
        Ok(())
    }
}

/// Whether the host is being shut down. systemctl(1) asks the service manager directly, which is needed:
/// the bus may be gone already.
fn is_going_down() -> bool {
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

fn repair(ctx: &Context, leader: &JobId, changes: &[Change]) {
    journal::database_interrupted(leader);
    let log = job::log(&ctx.paths, leader);
    match ctx
        .packages
        .repair(changes, &log, &mut Repairing::new(ctx, leader))
    {
        Ok(()) => journal::database_repaired(leader),
        Err(error) => journal::database_problem(leader, &format!("{error:#}")),
    }
}

/// Waits for what changes packages, whoever asks to stop meanwhile: it is finished first.
struct Unstoppable;

impl Observer for Unstoppable {
    fn report(&mut self, report: Report) {
        if let Report::Waiting(what) = report {
            journal::waiting(None, &what);
        }
    }

    fn stop(&mut self) -> bool {
        false
    }
}
