//! Putting former versions back: by the package manager, and by the tool below it where that cannot.

use anyhow::Result;

use super::intent::Intent;
use super::{due, is_back};
use crate::host::systemd;
use crate::journal;
use crate::package::{Change, Ended, Former, Restore};
use crate::request::JobId;
use crate::state::job;
use crate::state::kept::Store;
use crate::worker::progress::{Repairing, Restoring};
use crate::worker::verify::{self, Before};
use crate::worker::{Worker, gate};

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
pub fn put_back(
    worker: &Worker,
    leader: &JobId,
    before: &Before,
    intent: &mut Intent,
) -> Result<()> {
    let mut result = front(worker, leader, before, intent);
    for _ in 1..TRIES {
        if is_back(worker, &intent.former) {
            break;
        }
        // what stopped it may have been left by the update itself: a package that is half there
        repair(worker, leader, intent);
        intent.attempt += 1;
        let saved = intent.save(&worker.paths, leader);
        result = saved.and_then(|()| front(worker, leader, before, intent));
    }
    match worker.packages.below() {
        Some(tool) if !is_back(worker, &intent.former) => {
            below(worker, leader, before, intent, (tool, result))
        }
        _ => result,
    }
}

fn front(worker: &Worker, leader: &JobId, before: &Before, intent: &Intent) -> Result<()> {
    let due = due(&intent.former, &worker.packages.installed()?);
    reset_failed(before);
    run(worker, leader, intent, &due, Way::Front)
}

/// Uses the tool below; the words of the package manager stay when that cannot do it, either.
fn below(
    worker: &Worker,
    leader: &JobId,
    before: &Before,
    intent: &mut Intent,
    (tool, failed): (&str, Result<()>),
) -> Result<()> {
    let words = match &failed {
        Ok(()) => "not every former version is back".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    journal::rollback_below(leader, tool, &words);
    intent.attempt += 1;
    intent.tool = Some(tool.to_owned());
    intent.save(&worker.paths, leader)?;
    let due = due(&intent.former, &worker.packages.installed()?);
    reset_failed(before);
    match run(worker, leader, intent, &due, Way::Below) {
        Ok(()) => failed,
        Err(error) => Err(anyhow::anyhow!("{words}; {tool}: {error:#}")),
    }
}

/// One run that changes `packages`.
pub fn run(
    worker: &Worker,
    leader: &JobId,
    intent: &Intent,
    packages: &[Former],
    way: Way,
) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let program = gate::program(&worker.paths)?;
    let arguments = [
        "run".to_owned(),
        "gate".to_owned(),
        format!("--job={leader}"),
        format!("--back={}", intent.attempt),
    ];
    let store = Store::open(&worker.paths);
    let restore = Restore {
        former: packages,
        log: &job::log(&worker.paths, leader),
        gate: (&program, &arguments),
        store: store.directory(),
    };
    let observer = &mut Restoring::new(worker, leader);
    let ended = match way {
        Way::Front => worker.packages.roll_back(&restore, observer)?,
        Way::Below => worker.packages.roll_back_below(&restore, observer)?,
        Way::Again => worker.packages.install_again(&restore, observer)?,
    };
    match ended {
        Ended::Done | Ended::Stopped => Ok(()),
        Ended::FetchFailed(why) | Ended::Failed(why) | Ended::Interrupted(why) => {
            Err(anyhow::anyhow!(why))
        }
    }
}

fn repair(worker: &Worker, leader: &JobId, intent: &Intent) {
    let undone: Vec<Change> = intent.former.iter().map(Former::undone).collect();
    let log = job::log(&worker.paths, leader);
    let repaired = worker
        .packages
        .repair(&undone, &log, &mut Repairing::new(worker, leader));
    if let Err(error) = repaired {
        journal::database_problem(leader, &format!("{error:#}"));
    }
}

/// A unit that failed too often is not started again, not even in a version that would stay up.
fn reset_failed(before: &Before) {
    if let Err(error) = systemd::reset_failed(&verify::failing(before)) {
        tracing::debug!("units that failed were not reset: {error:#}");
    }
}
