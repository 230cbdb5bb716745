//! One transaction: fetched, put through the gate, made; and the one that undoes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::arguments::{self, Run};
use super::backend::Pacman;
use super::conf::Conf;
use super::hook::Plan;
use super::local::DATABASE;
use super::locks::{self, Held, LOCK};
use super::upgrade::Upgrade;
use super::{contents, run};
use crate::exec::{Line, Program};
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
    /// transaction that does both. A configuration is given where that of the host cannot be read.
    pub(super) fn put_back(
        &self,
        conf: &Conf,
        configuration: Option<&Path>,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Ended> {
        restore.former.iter().try_for_each(Former::check)?;
        let changes: Vec<Change> = restore.former.iter().map(Former::undone).collect();
        let files: Vec<PathBuf> = restore
            .former
            .iter()
            .filter_map(|f| f.source.file().map(Path::to_owned))
            .collect();
        let (going, names) = going(restore.former);
        let local = Path::new(DATABASE).join("local");
        let without_dependencies = !going.is_empty()
            && is_only_needed_by(&names, &arguments::rehearse(&files, configuration))?;
        let over = contents::moving_back(&local, &going, &files, configuration)?;
        let plan = Plan {
            changes,
            conf: conf.clone(),
            databases: Vec::new(),
        };
        let hooks = self.hooks(conf, &plan, restore.gate)?;
        // the gate is asked once, for all of it
        let gated = if files.is_empty() {
            &hooks
        } else {
            &conf.hooks
        };
        let run = |hooks| Run {
            hooks,
            configuration,
            without_dependencies,
        };
        let programs = [
            (!files.is_empty()).then(|| arguments::install(&files, &over, run(&hooks))),
            (!names.is_empty()).then(|| arguments::remove(&names, run(gated))),
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

/// Whether all that speaks against a run are packages that go afterwards, as it says when it is rehearsed.
fn is_only_needed_by(going: &[&str], rehearsal: &Program) -> Result<bool> {
    let mut lines = Vec::new();
    let finished = rehearsal.run(&mut |line: Line<'_>| {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        lines.push(text.to_owned());
    })?;
    Ok(!finished.succeeded() && needed_only_by(going, &lines))
}

/// `:: installing helper (1.0-1) breaks dependency 'helper>=1.1' required by newdep` (pacman 7.0): pure.
fn needed_only_by(going: &[&str], lines: &[String]) -> bool {
    let problems: Vec<&String> = lines.iter().filter(|l| l.starts_with(":: ")).collect();
    let of_going = |line: &&String| {
        let needed = line.rsplit_once(" required by ");
        needed.is_some_and(|(_, name)| going.contains(&name.trim()))
    };
    !problems.is_empty() && problems.iter().all(of_going)
}

/// The packages that were new, and their names.
fn going(former: &[Former]) -> (Vec<&Former>, Vec<&str>) {
    let new = |former: &&Former| former.source == FormerSource::New;
    let going: Vec<&Former> = former.iter().filter(new).collect();
    let names = going.iter().map(|f| f.change.package.as_str()).collect();
    (going, names)
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
    fn only_what_goes_may_have_its_dependencies_broken() {
        let line = |name: &str| {
            format!(
                ":: installing helper (1.0-1) breaks dependency 'helper>=1.1' required by {name}"
            )
        };
        let head = "error: failed to prepare transaction (could not satisfy dependencies)";
        let ours = [head.to_owned(), line("newdep")];
        assert!(needed_only_by(&["newdep"], &ours));
        assert!(!needed_only_by(
            &["newdep"],
            &[line("newdep"), line("stranger")]
        ));
        assert!(!needed_only_by(&["newdep"], &ours[..1]));
    }

    #[test]
    fn a_failure_says_that_the_databases_are_ahead() {
        let Ended::Failed(why) = ahead(Ended::Failed("x".into())) else {
            panic!()
        };
        assert!(why.starts_with("x; pacman's databases are ahead"), "{why}");
    }
}
