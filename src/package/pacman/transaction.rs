//! One transaction: fetched, put through the gate, made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::arguments;
use super::backend::Pacman;
use super::conf::Conf;
use super::gate::GatePlan;
use super::locks::{self, LOCK, LockState};
use super::output;
use super::simulate::{Upgrade, left_out};
use crate::exec::Program;
use crate::package::{
    Change, Observer, PackageId, Selection, Source, Transaction, TransactionEnd, TransactionReport,
};

/// How long a transaction waits for that of another process.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// How often another process may take the lock first: on a full or read-only disk, pacman cannot make the lock either.
const LOCK_TRIES: u32 = 20;

impl Pacman {
    /// Fetches what an upgrade of everything would install; whether it came to its end.
    pub(super) fn download_ahead(
        &self,
        failed: &[&Source],
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let upgrade = self.upgrade(&self.conf()?, (failed, &[]))?;
        let program = arguments::download_ahead(self.tree.path(), &upgrade.without);
        let outcome = output::run(&program, upgrade.changes.len(), observer)?;
        match outcome.ended {
            TransactionEnd::Done => Ok(true),
            TransactionEnd::Stopped => Ok(false),
            TransactionEnd::FetchFailed(why)
            | TransactionEnd::Failed(why)
            | TransactionEnd::Interrupted(why) => {
                bail!("{why}")
            }
        }
    }

    /// Runs one transaction.
    pub(super) fn upgrade_host(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport> {
        let conf = self.conf()?;
        // a plan is worth nothing while another process changes packages
        free(observer)?;
        let mut upgrade = self.upgrade(&conf, (transaction.failed, &[]))?;
        if let Selection::Exactly(updates) = transaction.selection {
            // that this may be is known from its plan
            let left_out = left_out(updates, &upgrade.pending.updates);
            if !left_out.is_empty() {
                upgrade = self.upgrade(&conf, (transaction.failed, &left_out))?;
            }
        }
        let kept_back = upgrade.pending.kept_back.clone();
        let done = |ended| TransactionReport {
            ended,
            kept_back,
            notes: Vec::new(),
            failures: Vec::new(),
            displaced: false,
            interrupted: false,
        };
        if upgrade.changes.is_empty() {
            return Ok(done(TransactionEnd::Done));
        }
        let outcome = self.transact(&conf, &upgrade, transaction, observer)?;
        let key = |package: &str| {
            let change = upgrade
                .changes
                .iter()
                .find(|change| change.package == package);
            change.map(Change::key)
        };
        let failures: Vec<(PackageId, String)> = outcome
            .failed
            .into_iter()
            .filter_map(|(package, why)| Some((key(&package)?, why)))
            .collect();
        Ok(TransactionReport {
            notes: outcome.notes,
            failures,
            ..done(outcome.ended)
        })
    }

    /// Moves the live databases, and upgrades by them in one run, which fetches, checks, and asks the gate, as `pacman
    /// -Syu` does: a run of its own for the check would check each package twice. No other process gets the lock
    /// meanwhile. If nothing was changed in the end, the databases go back to where they were.
    fn transact(
        &self,
        conf: &Conf,
        upgrade: &Upgrade,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<output::PacmanOutcome> {
        free(observer)?;
        let failed = |repository: &str| transaction.failed.iter().any(|s| s.suite == repository);
        let moving: Vec<&str> = conf
            .repositories
            .iter()
            .map(|repository| repository.name.as_str())
            // one that was never live is needed all the same: pacman refuses to work without (FACTS 50)
            .filter(|r| !failed(r) || !self.tree.is_live(r))
            .collect();
        let plan = GatePlan {
            changes: upgrade.changes.clone(),
            conf: conf.clone(),
            databases: self.tree.put_live(&moving)?,
        };
        let upgraded = self.hooks(conf, &plan, transaction.gate).and_then(|hooks| {
            let program = arguments::upgrade(&hooks, &upgrade.without, transaction.gate.1);
            let program = program.log(transaction.log);
            self.run(&program, upgrade.changes.len(), observer)
        });
        let behind = self.tree.restore_unless_used()?;
        let outcome = upgraded?;
        let ended = if behind || outcome.ended == TransactionEnd::Done {
            outcome.ended
        } else {
            ahead(outcome.ended)
        };
        Ok(output::PacmanOutcome { ended, ..outcome })
    }

    /// Runs pacman on the live database; again when another process took the lock first.
    pub(super) fn run(
        &self,
        program: &Program,
        total: usize,
        observer: &mut dyn Observer,
    ) -> Result<output::PacmanOutcome> {
        let mut tries = 0;
        loop {
            tries += 1;
            free(observer)?;
            self.tree.begin()?;
            let outcome = output::run(program, total, observer)?;
            match outcome.ended {
                // the repair has to know whose lock it was
                TransactionEnd::Interrupted(_) => {}
                TransactionEnd::Stopped => {
                    // it had no time to take it away
                    if locks::held(Path::new(LOCK)) == LockState::Stale {
                        locks::remove(Path::new(LOCK))?;
                    }
                    self.tree.end()?;
                }
                _ => self.tree.end()?,
            }
            let again = outcome.locked && tries < LOCK_TRIES;
            if !again || outcome.ended == TransactionEnd::Stopped {
                return Ok(outcome);
            }
        }
    }

    /// The hook directories of a run: that of the gate, and those of the administrator, which the option would hide.
    pub(super) fn hooks(
        &self,
        conf: &Conf,
        plan: &GatePlan,
        gate: (&Path, &[String]),
    ) -> Result<Vec<PathBuf>> {
        let ours = self.gate.set_up(plan, gate)?;
        Ok(conf.hooks.iter().cloned().chain([ours]).collect())
    }
}

/// Waits until the other process has finished; an error when no process holds the lock.
fn free(observer: &mut dyn Observer) -> Result<()> {
    match locks::wait(observer, Some(LOCK_LIMIT))? {
        LockState::Stale | LockState::Unknown => bail!("{}", locks::stale()),
        LockState::No | LockState::By(_) => Ok(()),
    }
}

/// A failure after the live databases moved: every installation now would be a partial upgrade.
fn ahead(ended: TransactionEnd) -> TransactionEnd {
    let explained = |words: String| {
        format!(
            "{words}; pacman's databases are ahead of what is installed now, until all is upgraded"
        )
    };
    match ended {
        TransactionEnd::Failed(words) | TransactionEnd::FetchFailed(words) => {
            TransactionEnd::Failed(explained(words))
        }
        TransactionEnd::Interrupted(words) => TransactionEnd::Interrupted(explained(words)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_that_the_databases_are_ahead() {
        let TransactionEnd::Failed(why) = ahead(TransactionEnd::Failed("x".into())) else {
            panic!()
        };
        assert!(why.starts_with("x; pacman's databases are ahead"), "{why}");
    }
}
