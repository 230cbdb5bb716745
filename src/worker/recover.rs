//! Jobs that a worker left behind when it died: found again, judged by what is on the disk.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::gate::Intent;
use super::lifecycle::Event;
use super::progress::{self, Quiet};
use super::settle::{self, Outcome};
use super::update::Update;
use super::{Worker, apply, own, verify};
use crate::fs::{remove_durably, remove_leftovers, write_atomically};
use crate::package::{Applied, Change, Database, Ended, Installed, PackageState, command};
use crate::request::{JobId, Kind};
use crate::state::job::{self, Job};
use crate::state::{self};
use crate::{journal, queue};

/// What is noted with a job that was judged by another worker than the one that ran it.
const NOTE: &str = "the worker was interrupted while it changed packages";

/// Remembers which jobs are in a worker's hands.
pub fn remember(worker: &Worker, jobs: &[Job]) -> Result<()> {
    let ids: Vec<&JobId> = jobs.iter().map(Job::id).collect();
    write_atomically(&path(worker), &serde_json::to_vec(&ids)?, 0o644)
}

/// No job is in a worker's hands any more.
pub fn forget(worker: &Worker) -> Result<()> {
    remove_durably(&path(worker))?;
    progress::forget(worker);
    Ok(())
}

/// Ends what a dead worker began. A job without an intent changed nothing and goes back into the queue.
/// One with an intent is healed, and judged by the package database; no package is ever changed twice.
pub fn run(worker: &Worker) -> Result<()> {
    sweep(worker)?;
    let Some(ids): Option<Vec<JobId>> = state::read(&path(worker)) else {
        return Ok(());
    };
    let transactions = unfinished(worker, &ids);
    if !transactions.is_empty() {
        shut_the_gate(worker, &transactions)?;
        let idle = worker.packages.wait_until_idle(&mut Quiet::new(worker));
        idle.context("a package manager that an interrupted worker started is still at work")?;
    }
    for (transaction, jobs) in transactions {
        match Intent::load(&worker.paths, &transaction).unwrap_or(None) {
            Some(Intent::Activated { changes }) if own::is_of_the_part_before(&jobs, &changes) => {
                put_back(worker, &transaction, &jobs)?;
            }
            Some(Intent::Activated { changes }) => {
                if heal(worker, &transaction, &changes)? {
                    judge(worker, &transaction, jobs, &changes)?;
                } else {
                    put_back(worker, &transaction, &jobs)?;
                }
            }
            _ => put_back(worker, &transaction, &jobs)?,
        }
    }
    forget(worker)
}

/// Removes half files, once after each boot: before it, a writer may have died anywhere.
fn sweep(worker: &Worker) -> Result<()> {
    let swept = worker.paths.run().join("swept");
    if swept.exists() {
        return Ok(());
    }
    for directory in [worker.paths.jobs(), worker.paths.state()] {
        remove_leftovers(&directory)?;
    }
    std::fs::write(&swept, "").with_context(|| format!("failed to write '{}'", swept.display()))
}

/// The jobs that have not ended, by the transaction that served them.
fn unfinished(worker: &Worker, ids: &[JobId]) -> BTreeMap<JobId, Vec<Job>> {
    let mut transactions: BTreeMap<JobId, Vec<Job>> = BTreeMap::new();
    for id in ids {
        if let Some(job) = Job::taken(&worker.paths, id).filter(|job| !job.status.is_final()) {
            transactions
                .entry(job.transaction.clone())
                .or_default()
                .push(job);
        }
    }
    transactions
}

/// A package manager that outlived its worker and is not yet through the gate stays outside, and is ended:
/// its job is done anew, must not be done twice, and must not wait for what a slow mirror still sends.
fn shut_the_gate(worker: &Worker, transactions: &BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    for (transaction, jobs) in transactions {
        let is_apply = jobs.iter().any(|job| job.request.kind != Kind::Refresh);
        let shut = is_apply && Intent::Stopped.create(&job::intent(&worker.paths, transaction))?;
        if shut {
            command::end_leftovers(&apply::gate(transaction).join(" "))?;
        }
        let phase = if is_apply && !shut {
            "changing packages"
        } else {
            "preparing"
        };
        for job in jobs {
            journal::job_interrupted(job.id(), phase);
        }
    }
    Ok(())
}

/// Repairs what the interrupted transaction left; whether it is to be judged. One that is healed, and of
/// which a part was never begun, is not: its jobs go back into the queue, and do the rest.
fn heal(worker: &Worker, transaction: &JobId, changes: &[Change]) -> Result<bool> {
    let log = job::log(&worker.paths, transaction);
    if let Err(error) = worker.packages.repair(changes, &log) {
        journal::database_problem(transaction, &format!("{error:#}"));
        return Ok(true);
    }
    let after = worker.packages.installed()?;
    let untouched = |change: &Change| {
        let now = after.get(&change.key());
        now.map(|installed| &installed.version) == change.from.as_ref()
            && now.is_none_or(|installed| installed.state == PackageState::Good)
    };
    Ok(!changes.iter().any(untouched))
}

/// Judges a transaction as the worker would have that began it.
fn judge(worker: &Worker, leader: &JobId, mut jobs: Vec<Job>, changes: &[Change]) -> Result<()> {
    let mut update = Update::resume(worker, changes);
    update.step(Event::Verify)?;
    let after = worker.packages.installed()?;
    let mut verdict = verify::verdict(&before(&after, changes), &after, changes);
    if verdict.wrong.is_empty() {
        verdict.wrong.extend(own::verify(changes));
    }
    let own_follows = !own::is_among(changes) && own::is_left(worker, &jobs);
    let applied = Applied {
        ended: Ended::Done,
        kept_back: Vec::new(),
        notes: vec![NOTE.to_owned()],
        failures: Vec::new(),
    };
    let outcome = Outcome::Changed { verdict, applied };
    settle::finish(worker, &mut jobs, &outcome, &mut update, own_follows);
    apply::stamp(&mut jobs, &update);
    apply::cap_log(worker, leader);
    if own_follows {
        let (going_on, ended) = own::go_on(worker, jobs);
        put_back(worker, leader, &going_on)?;
        jobs = ended;
    }
    worker.record(&mut jobs)
}

/// The database as it was before the changes, as far as the change list tells.
fn before(after: &Database, changes: &[Change]) -> Database {
    let mut before = after.clone();
    for change in changes {
        let key = change.key();
        match &change.from {
            None => before.remove(&key),
            Some(version) => before.insert(
                key,
                Installed {
                    version: version.clone(),
                    state: PackageState::Good,
                    held: false,
                },
            ),
        };
    }
    before
}

fn put_back(worker: &Worker, transaction: &JobId, jobs: &[Job]) -> Result<()> {
    for job in jobs {
        queue::put_back(&worker.paths, job)?;
    }
    remove_durably(&job::intent(&worker.paths, transaction))
}

fn path(worker: &Worker) -> std::path::PathBuf {
    worker.paths.state().join("running.json")
}
