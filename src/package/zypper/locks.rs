//! zypper's lock, for which it does not wait by itself.

use anyhow::{Result, bail};

use super::output::{ZypperOutcome, ZypperRun};
use crate::exec::Program;
use crate::package::transaction::IgnoreReports;
use crate::package::{Observer, TransactionEnd, lock};

/// Runs a program until no other process holds zypper's lock.
pub fn until_unlocked(program: &Program, observer: &mut dyn Observer) -> Result<ZypperOutcome> {
    let outcome = lock::retry(observer, |observer, is_last| {
        let mut run = ZypperRun::new(observer);
        let exit_reason = program.run(&mut run)?.exit_reason;
        let mut outcome = run.finish(exit_reason);
        Ok(match outcome.locked.take() {
            Some(holder) if !is_last => Err(holder),
            _ => Ok(outcome),
        })
    })?;
    Ok(outcome.unwrap_or_else(|| ZypperOutcome {
        ended: TransactionEnd::Stopped,
        ..ZypperOutcome::nothing()
    }))
}

/// Runs what only reads; a failure is an error.
pub fn read(program: &Program) -> Result<ZypperOutcome> {
    let finished = until_unlocked(program, &mut IgnoreReports)?;
    match &finished.ended {
        TransactionEnd::Done => Ok(finished),
        TransactionEnd::Stopped => bail!("zypper was stopped"),
        TransactionEnd::Failed(why)
        | TransactionEnd::FetchFailed(why)
        | TransactionEnd::Interrupted(why) => {
            bail!("zypper: {why}")
        }
    }
}
