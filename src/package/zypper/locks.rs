//! zypper's lock, for which it does not wait by itself.

use anyhow::{Result, bail};

use super::output::{ZypperOutcome, ZypperRun};
use crate::exec::Program;
use crate::package::transaction::IgnoreReports;
use crate::package::{Observer, TransactionEnd, lock};

/// How often a run is started anew because somebody else holds the lock: ten minutes.
const LOCK_TRIES: u32 = 1200;

/// Runs a program until nobody else holds zypper's lock.
pub fn until_unlocked(program: &Program, observer: &mut dyn Observer) -> Result<ZypperOutcome> {
    let mut wait = lock::Wait::default();
    let mut tries = 0;
    loop {
        let mut run = ZypperRun::new(observer);
        let exit_reason = program.run(&mut run)?.exit_reason;
        let mut finished = run.finish(exit_reason);
        tries += 1;
        let Some(holder) = finished.locked.take().filter(|_| tries < LOCK_TRIES) else {
            return Ok(finished);
        };
        if observer.stop() {
            finished.ended = TransactionEnd::Stopped;
            return Ok(finished);
        }
        wait.moment(&holder, lock::RETRY, observer);
    }
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
