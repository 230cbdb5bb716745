//! One transaction: fetched, put through the gate, made; and the one that undoes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::conf::Conf;
use super::hook::Plan;
use super::locks::{self, Held, LOCK};
use super::run;
use super::upgrade::Upgrade;
use super::{Pacman, arguments};
use crate::package::command::Program;
use crate::package::{Change, Ended, Former, FormerSource, Observer, Restore, Transaction};

/// How long a transaction waits for somebody else's.
const LOCK_LIMIT: Duration = Duration::from_secs(600);

/// How often somebody else may be faster: the lock cannot be made on a full or read-only disk, either.
const LOCK_TRIES: u32 = 20;

impl Pacman {
    /// Moves the live databases, and upgrades by them in one run, which fetches, checks, and asks the gate, as
    /// `pacman -Syu` does for anybody: checked in a run of its own, each package would be checked twice. Nobody
    /// else gets the lock meanwhile. When nothing was changed in the end, they go back to where they were.
    pub(super) fn transact(
        &self,
        conf: &Conf,
        upgrade: &Upgrade,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<run::Outcome> {
        free(observer)?;
        let failed = |repository: &str| transaction.failed.iter().any(|s| s.suite == repository);
        let moving: Vec<&str> = conf
            .repositories
            .iter()
            .map(|repository| repository.name.as_str())
            // one that was never live is needed all the same: pacman refuses to work without (measured)
            .filter(|r| !failed(r) || !self.tree.is_live(r))
            .collect();
        let plan = Plan {
            changes: upgrade.changes.clone(),
            conf: conf.clone(),
            databases: self.tree.put_live(&moving)?,
        };
        let upgraded = self.hooks(conf, &plan, transaction.gate).and_then(|hooks| {
            let program = arguments::upgrade(&hooks, &upgrade.without, transaction.gate.1);
            let program = program.log(transaction.log);
            self.run(&program, upgrade.changes.len(), observer)
        });
        let behind = self.tree.put_back_unless_used()?;
        let outcome = upgraded?;
        let ended = if behind || outcome.ended == Ended::Done {
            outcome.ended
        } else {
            ahead(outcome.ended)
        };
        Ok(run::Outcome { ended, ..outcome })
    }

    /// Runs pacman on the live database; again when somebody else was faster with the lock.
    fn run(
        &self,
        program: &Program,
        total: usize,
        observer: &mut dyn Observer,
    ) -> Result<run::Outcome> {
        let mut tries = 0;
        loop {
            tries += 1;
            free(observer)?;
            self.tree.begin()?;
            let outcome = run::run(program, total, observer)?;
            match outcome.ended {
                // whoever repairs it is to know whose lock it was
                Ended::Interrupted(_) => {}
                Ended::Stopped => {
                    // it had no time to take it away
                    if locks::held(Path::new(LOCK)) == Held::Stale {
                        locks::remove(Path::new(LOCK))?;
                    }
                    self.tree.end()?;
                }
                _ => self.tree.end()?,
            }
            let again = outcome.locked && tries < LOCK_TRIES;
            if !again || outcome.ended == Ended::Stopped {
                return Ok(outcome);
            }
        }
    }

    /// The hook directories of a run: ours, and the administrator's, which an option would hide.
    fn hooks(&self, conf: &Conf, plan: &Plan, gate: (&Path, &[String])) -> Result<Vec<PathBuf>> {
        let ours = self.gate.set_up(plan, gate)?;
        Ok(conf.hooks.iter().cloned().chain([ours]).collect())
    }

    /// The new packages go in a run of their own, when those that need them are gone: pacman has no
    /// transaction that does both.
    pub(super) fn put_back(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Ended> {
        let conf = self.conf()?;
        restore.former.iter().try_for_each(Former::check)?;
        let changes: Vec<Change> = restore.former.iter().map(Former::undone).collect();
        let files: Vec<PathBuf> = restore
            .former
            .iter()
            .filter_map(|f| f.source.file().map(Path::to_owned))
            .collect();
        let going: Vec<&str> = restore
            .former
            .iter()
            .filter(|former| former.source == FormerSource::New)
            .map(|former| former.change.package.as_str())
            .collect();
        let plan = Plan {
            changes,
            conf: conf.clone(),
            databases: Vec::new(),
        };
        let hooks = self.hooks(&conf, &plan, restore.gate)?;
        // the gate is asked once, for all of it
        let gated = if files.is_empty() {
            &hooks
        } else {
            &conf.hooks
        };
        let programs = [
            (!files.is_empty()).then(|| arguments::install(&files, &hooks)),
            (!going.is_empty()).then(|| arguments::remove(&going, gated)),
        ];
        for program in programs.into_iter().flatten() {
            let program = program.log(restore.log);
            let outcome = self.run(&program, restore.former.len(), observer)?;
            if outcome.ended != Ended::Done {
                return Ok(outcome.ended);
            }
        }
        self.tree.put_back()?;
        Ok(Ended::Done)
    }
}

/// Waits until somebody else has finished; an error when the lock is nobody's.
pub(super) fn free(observer: &mut dyn Observer) -> Result<()> {
    match locks::wait(observer, Some(LOCK_LIMIT))? {
        Held::Stale | Held::Unknown => bail!("{}", locks::stale()),
        Held::No | Held::By(_) => Ok(()),
    }
}

/// A failure after the live databases moved: whoever installs anything now makes a partial upgrade.
fn ahead(ended: Ended) -> Ended {
    let told = |words: String| {
        format!(
            "{words}; pacman's databases are ahead of what is installed now, until all is upgraded"
        )
    };
    match ended {
        Ended::Failed(words) | Ended::FetchFailed(words) => Ended::Failed(told(words)),
        Ended::Interrupted(words) => Ended::Interrupted(told(words)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_that_the_databases_are_ahead() {
        let Ended::Failed(why) = ahead(Ended::Failed("x".into())) else {
            panic!()
        };
        assert!(why.starts_with("x; pacman's databases are ahead"), "{why}");
    }
}
