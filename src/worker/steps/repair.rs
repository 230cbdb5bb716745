//! Repair of a package database that was left interrupted: by another program before, or by the package manager of
//! this worker that was killed.

use anyhow::Result;

use crate::journal;
use crate::package::{Change, TransactionEnd};
use crate::request::JobId;
use crate::state::job;
use crate::worker::bookkeeping::context::Context;
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::hold_off;

/// Before a transaction: repairs what keeps the package manager from working at all, and configures what was left
/// half-configured, whose cause the administrator may have removed. A repair that fails is logged; the package manager
/// then reports the same in its own words.
pub fn before(ctx: &Context, transaction: &JobId) -> Result<()> {
    let packages = &ctx.packages;
    if !packages.is_interrupted()? && !packages.is_unconfigured()? {
        return Ok(());
    }
    // another package manager may be changing it at this moment
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

/// After a transaction that was interrupted: waits for what outlived it, and repairs the rest, so that the worker
/// judges the state that stays.
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
