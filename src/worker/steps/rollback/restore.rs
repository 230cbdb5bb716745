//! Putting former versions back: by the package manager, and by the tool below it where that cannot.

use anyhow::Result;

use crate::host::systemd;
use crate::journal;
use crate::package::{Change, Restore, RollbackItem, TransactionEnd};
use crate::request::JobId;
use crate::state::job;
use crate::state::package_store::PackageStore;
use crate::worker::bookkeeping::context::Context;
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::gate;
use crate::worker::steps::rollback::intent::Intent;
use crate::worker::steps::rollback::items::{due, is_back};
use crate::worker::steps::verify::{self, Baseline};

/// How often the package manager is asked: once more after what the update left has been repaired.
const TRIES: u32 = 2;

/// Which way packages are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the package manager, in one transaction.
    Front,
    /// By the tool below it.
    Below,
    /// Each again in the version that it has.
    Again,
}

/// Puts back what is not back yet. The tool below is the last resort: unlike the package manager, it knows no
/// more than the files that it is given.
pub fn rollback(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    intent: &mut Intent,
) -> Result<()> {
    let mut result = front(ctx, transaction, before, intent);
    for _ in 1..TRIES {
        if is_back(ctx, &intent.former) {
            break;
        }
        // what stopped it may have been left by the update itself: a package that is half there
        repair(ctx, transaction, intent);
        intent.attempt += 1;
        let saved = intent.save(&ctx.paths, transaction);
        result = saved.and_then(|()| front(ctx, transaction, before, intent));
    }
    match ctx.packages.below() {
        Some(tool) if !is_back(ctx, &intent.former) => {
            below(ctx, transaction, before, intent, (tool, result))
        }
        _ => result,
    }
}

fn front(ctx: &Context, transaction: &JobId, before: &Baseline, intent: &Intent) -> Result<()> {
    let due = due(&intent.former, &ctx.packages.installed()?);
    reset_failed(before);
    run(ctx, transaction, intent, &due, Way::Front)
}

/// Uses the tool below; the words of the package manager stay when that cannot do it, either.
fn below(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    intent: &mut Intent,
    (tool, failed): (&str, Result<()>),
) -> Result<()> {
    let words = match &failed {
        Ok(()) => "not every former version is back".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    journal::rollback_below(transaction, tool, &words);
    intent.attempt += 1;
    intent.tool = Some(tool.to_owned());
    intent.save(&ctx.paths, transaction)?;
    let due = due(&intent.former, &ctx.packages.installed()?);
    reset_failed(before);
    match run(ctx, transaction, intent, &due, Way::Below) {
        Ok(()) => failed,
        Err(error) => Err(anyhow::anyhow!("{words}; {tool}: {error:#}")),
    }
}

/// One run that changes `packages`.
pub fn run(
    ctx: &Context,
    transaction: &JobId,
    intent: &Intent,
    packages: &[RollbackItem],
    way: Way,
) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let program = gate::program(&ctx.paths)?;
    let arguments = [
        "run".to_owned(),
        "gate".to_owned(),
        format!("--job={transaction}"),
        format!("--back={}", intent.attempt),
    ];
    let store = PackageStore::open(&ctx.paths);
    let restore = Restore {
        former: packages,
        log: &job::log(&ctx.paths, transaction),
        gate: (&program, &arguments),
        store: store.directory(),
    };
    let observer = &mut Monitor::rollback(ctx, transaction);
    let ended = match way {
        Way::Front => ctx.packages.rollback(&restore, observer)?,
        Way::Below => ctx.packages.rollback_below(&restore, observer)?,
        Way::Again => ctx.packages.install_again(&restore, observer)?,
    };
    match ended {
        TransactionEnd::Done | TransactionEnd::Stopped => Ok(()),
        TransactionEnd::FetchFailed(why)
        | TransactionEnd::Failed(why)
        | TransactionEnd::Interrupted(why) => Err(anyhow::anyhow!(why)),
    }
}

fn repair(ctx: &Context, transaction: &JobId, intent: &Intent) {
    let undone: Vec<Change> = intent.former.iter().map(RollbackItem::undone).collect();
    let log = job::log(&ctx.paths, transaction);
    let repaired = ctx
        .packages
        .repair(&undone, &log, &mut Monitor::repair(ctx, transaction));
    if let Err(error) = repaired {
        journal::database_problem(transaction, &format!("{error:#}"));
    }
}

/// A unit that failed too often is not started again, not even in a version that would stay up.
fn reset_failed(before: &Baseline) {
    if let Err(error) = systemd::reset_failed(&verify::failing(before.rest.units.as_ref())) {
        tracing::debug!("units that failed were not reset: {error:#}");
    }
}
