//! Healing a package database that somebody left interrupted: another program before us, or the package
//! manager that we started and that was killed.

use anyhow::Result;

use crate::journal;
use crate::package::{Change, TransactionEnd};
use crate::request::JobId;
use crate::state::job;
use crate::worker::bookkeeping::context::Context;
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::hold_off;

/// Before a transaction: heals what keeps the package manager from working at all, and tries to configure what
/// is left half-configured, which the administrator may have mended. What cannot be healed is said; the package
/// manager then says the same in its own words.
pub fn before(ctx: &Context, transaction: &JobId) -> Result<()> {
    let packages = &ctx.packages;
    if !packages.is_interrupted()? && !packages.is_unconfigured()? {
        return Ok(());
    }
    // it may only be in somebody's hands at this moment
    packages.wait_until_idle(&mut Monitor::refresh(ctx, Some(transaction)))?;
    if packages.is_interrupted()? {
        let _held_off = hold_off::hold_off(ctx, &format!("job {transaction} repairs packages"));
        repair(ctx, transaction, &[]);
    } else if packages.is_unconfigured()? {
        let _held_off = hold_off::hold_off(ctx, &format!("job {transaction} configures packages"));
        let log = job::log(&ctx.paths, transaction);
        packages.configure(&log, &mut Monitor::repair(ctx, transaction))?;
    }
    Ok(())
}

/// After a transaction that did not come to its end by itself: what outlived it may still be at work and
/// is waited for, the rest is repaired, so that what is judged is what stays.
pub fn after(
    ctx: &Context,
    transaction: &JobId,
    changes: &[Change],
    ended: &TransactionEnd,
) -> Result<()> {
    if !matches!(ended, TransactionEnd::Interrupted(_)) && !ctx.packages.is_interrupted()? {
        return Ok(());
    }
    ctx.packages.wait_until_idle(&mut Monitor::finish(ctx))?;
    repair(ctx, transaction, changes);
    Ok(())
}

fn repair(ctx: &Context, transaction: &JobId, changes: &[Change]) {
    journal::database_interrupted(transaction);
    let log = job::log(&ctx.paths, transaction);
    match ctx
        .packages
        .repair(changes, &log, &mut Monitor::repair(ctx, transaction))
    {
        Ok(()) => journal::database_repaired(transaction),
        Err(error) => journal::database_problem(transaction, &format!("{error:#}")),
    }
}
