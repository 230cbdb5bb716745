//! Jobs that a worker left behind when it died: found again, judged by what is on the disk.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::conclude::conclude;
use super::gate::Intent;
use super::lifecycle::Event;
use super::progress::{self, Quiet, Repairing};
use super::settle::{self, Concluded, Outcome};
use super::update::Update;
use super::verify::{Before, Judgement};
use super::{Worker, attempt, deaths, manual, orphans, own, parts, reboot, rollback, select};
use crate::exec;
use crate::fs::{remove_durably, remove_leftovers, write_atomically};
use crate::host::systemd;
use crate::package::{Applied, Change, Database, Ended, Former};
use crate::paths::Paths;
use crate::request::{JobId, Kind, Target};
use crate::state::at_work;
use crate::state::job::{self, Job};
use crate::state::{self};
use crate::{journal, queue};

/// Finishes what an interrupted worker left.
const RECOVERY: &str = "patch-recover.service";

/// Serves the queue, and finishes what it finds.
const DRAIN: &str = "patch-apply.service";

/// What is noted with a job that was judged by another worker than the one that ran it.
const NOTE: &str = "the worker was interrupted while it changed packages";

/// Remembers which jobs are in a worker's hands.
pub fn remember<'a>(worker: &Worker, jobs: impl IntoIterator<Item = &'a Job>) -> Result<()> {
    let ids: Vec<&JobId> = jobs.into_iter().map(Job::id).collect();
    write_atomically(&path(&worker.paths), &serde_json::to_vec(&ids)?, 0o644)
}

/// Has another worker started where jobs are in the hands of one that has died or could not go on: they are
/// in no queue, and nothing else would come back to them before long. One that is at work is waited for.
pub fn ask_for_another(paths: &Paths) {
    let unit = match path(paths).exists() {
        true => RECOVERY,
        // that one is for those that are listed
        false if orphans::any(paths) => DRAIN,
        false => return,
    };
    let _ = systemd::start_unit_soon(unit.to_owned());
}

/// No job is in a worker's hands any more.
pub fn forget(worker: &Worker) -> Result<()> {
    remove_durably(&path(&worker.paths))?;
    at_work::end(&worker.paths);
    progress::forget(worker);
    Ok(())
}

/// Ends what a dead worker began. A job without an intent changed nothing and goes back into the queue.
/// One with an intent is healed, and judged by the package database; no package is ever changed twice. Whether
/// there was one.
pub fn run(worker: &Worker) -> Result<bool> {
    sweep(worker)?;
    let listed = in_hands(worker);
    let orphans = orphans::find(worker, listed.as_deref().unwrap_or_default());
    if listed.is_none() && orphans.is_empty() {
        orphans::looked(worker)?;
        return Ok(false);
    }
    at_work::end(&worker.paths);
    let ids = [listed.unwrap_or_default(), orphans.clone()].concat();
    let mut transactions = unfinished(worker, &ids);
    if !transactions.is_empty() {
        shut_the_gate(worker, &transactions)?;
        let idle = worker.packages.wait_until_idle(&mut Quiet::new(worker));
        idle.context("a package manager that an interrupted worker started is still at work")?;
    }
    deaths::count(worker, &mut transactions)?;
    let is_work = !transactions.is_empty();
    let _held_off = is_work.then(|| reboot::hold_off(worker, "an interrupted update is finished"));
    if !orphans.is_empty() {
        for (transaction, jobs) in &mut transactions {
            *jobs = orphans::end(worker, transaction, std::mem::take(jobs), &orphans)?;
        }
        // what is left of them is in this worker's hands from here on, should it not come to its end
        remember(worker, transactions.values().flatten())?;
    }
    judge_all(worker, transactions)?;
    forget(worker)?;
    orphans::looked(worker)?;
    Ok(true)
}

/// Ends or puts back the jobs of every interrupted transaction.
fn judge_all(worker: &Worker, transactions: BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    for (transaction, jobs) in transactions {
        let jobs = deaths::give_up(worker, &transaction, jobs)?;
        if jobs.is_empty() {
            continue;
        }
        if let Some(intent) = rollback::Intent::load(&worker.paths, &transaction)? {
            go_on_back(worker, &transaction, jobs, intent)?;
            continue;
        }
        match intent_of(worker, &transaction) {
            Some(Intent::Activated { changes, .. })
                if own::is_of_the_part_before(&jobs, &changes) =>
            {
                put_back(worker, &transaction, &jobs)?;
            }
            Some(Intent::Activated { changes, former }) => {
                let done = heal(worker, &transaction, &changes)?;
                match done.filter(|_| !jobs.iter().any(|job| job.put_back)) {
                    Some(done) => {
                        let jobs = keep_done(worker, &transaction, jobs, &done, &former)?;
                        put_back(worker, &transaction, &jobs)?;
                    }
                    None => judge(worker, &transaction, jobs, &changes, former)?,
                }
            }
            _ => put_back(worker, &transaction, &jobs)?,
        }
    }
    Ok(())
}

/// The jobs that are in a worker's hands, or were in those of a dead one; none when there is no list. Where
/// the list cannot be read, these are all whose records say that they have not ended.
fn in_hands(worker: &Worker) -> Option<Vec<JobId>> {
    match listed(&worker.paths) {
        Ok(ids) => ids,
        Err(why) => {
            journal::state_unusable(&path(&worker.paths), &why);
            Some(job::ids(&worker.paths.jobs()))
        }
    }
}

/// Whether the job is in a worker's hands, as far as can be read.
pub fn has(paths: &Paths, id: &JobId) -> bool {
    match listed(paths) {
        Ok(ids) => ids.is_some_and(|ids| ids.contains(id)),
        Err(_) => true,
    }
}

/// The list of the jobs that are in a worker's hands, if there is one.
pub fn listed(paths: &Paths) -> Result<Option<Vec<JobId>>, String> {
    state::try_read(&path(paths))
}

/// The jobs in a worker's hands that this transaction serves.
pub fn running(worker: &Worker, transaction: &JobId) -> Vec<Job> {
    let ids = in_hands(worker).unwrap_or_default();
    let jobs = unfinished(worker, &ids).remove(transaction);
    jobs.unwrap_or_default()
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

/// What the gate let through. One that cannot be read lets nothing be judged: the job is done anew, by a plan
/// of what is installed then.
pub fn intent_of(worker: &Worker, transaction: &JobId) -> Option<Intent> {
    Intent::load(&worker.paths, transaction).unwrap_or_else(|why| {
        journal::state_unusable(&job::intent(&worker.paths, transaction), &why);
        None
    })
}

/// A package manager that outlived its worker and is not yet through the gate stays outside, and is ended:
/// its job is done anew, must not be done twice, and must not wait for what a slow mirror still sends.
fn shut_the_gate(worker: &Worker, transactions: &BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    for (transaction, jobs) in transactions {
        let is_apply = jobs.iter().any(|job| job.request.kind != Kind::Refresh);
        let going_back = rollback::take_over(&worker.paths, transaction)?;
        let shut = is_apply && Intent::Stopped.create(&job::intent(&worker.paths, transaction))?;
        if shut {
            exec::end_leftovers(&attempt::gate(transaction).join(" "))?;
        }
        let phase = match (going_back, is_apply && !shut) {
            (true, _) => "rolling back",
            (false, true) => "changing packages",
            (false, false) => "preparing",
        };
        for job in jobs {
            journal::job_interrupted(job.id(), phase);
        }
    }
    Ok(())
}

/// Repairs what the interrupted transaction left; `None` when it is to be judged. One that is healed, and
/// of which a part was never begun, need not be: its jobs can go back into the queue, and do the rest. Then
/// this is what is done.
fn heal(worker: &Worker, transaction: &JobId, changes: &[Change]) -> Result<Option<Vec<Change>>> {
    let log = job::log(&worker.paths, transaction);
    if let Err(error) =
        worker
            .packages
            .repair(changes, &log, &mut Repairing::new(worker, transaction))
    {
        journal::database_problem(transaction, &format!("{error:#}"));
        return Ok(None);
    }
    let after = worker.packages.installed()?;
    let is_untouched = |change: &Change| change.undone().is_made(&after);
    Ok(changes
        .iter()
        .any(is_untouched)
        .then(|| done(changes, &after)))
}

/// What of these changes is made, by what is installed now: pure.
pub fn done(changes: &[Change], now: &Database) -> Vec<Change> {
    let made = |change: &&Change| change.is_made(now);
    changes.iter().filter(made).cloned().collect()
}

/// Enters into each record what of it is done, and that it was put back: a transaction that is interrupted
/// again, by what it does perhaps, is judged and not begun for ever.
fn keep_done(
    worker: &Worker,
    transaction: &JobId,
    mut jobs: Vec<Job>,
    done: &[Change],
    former: &[Former],
) -> Result<Vec<Job>> {
    enter(transaction, &mut jobs, done, former);
    jobs.iter_mut().for_each(|job| job.put_back = true);
    Before::hand_on(worker, transaction, &jobs)?;
    Job::save_all(&worker.paths, &jobs)?;
    Ok(jobs)
}

/// Enters into each record what of it is done, and says so.
pub fn enter(transaction: &JobId, jobs: &mut [Job], done: &[Change], former: &[Former]) {
    let target = |job: &Job| job.request.packages.clone().unwrap_or(Target::All);
    let targets: Vec<Target> = jobs.iter().map(target).collect();
    let unasked = select::unasked(&targets, done);
    for (job, target) in jobs.iter_mut().zip(&targets) {
        let mine = select::changes_of(target, &unasked, done);
        let is_mine = |former: &&Former| mine.iter().any(|c| c.key() == former.change.key());
        let former: Vec<Former> = former.iter().filter(is_mine).cloned().collect();
        settle::add(&mut job.changes, &mine);
        settle::add(&mut job.former, &former);
        settle::add(&mut job.notes, &[NOTE.to_owned()]);
    }
    for change in done {
        settle::tell_change(transaction, change);
    }
}

/// Judges a transaction as the worker would have that began it.
fn judge(
    worker: &Worker,
    leader: &JobId,
    jobs: Vec<Job>,
    changes: &[Change],
    former: Vec<Former>,
) -> Result<()> {
    let mut update = Update::resume(worker, changes);
    let (changes, former) = parts::Done::of(&jobs).with(changes.to_vec(), former);
    let changes = &*changes;
    let before = Before::remembered(worker, leader, changes)?;
    let intent = (changes, former);
    let outcome = conclude(worker, leader, &before, intent, noted(), &mut update)?;
    let own_follows = !own::is_among(changes) && own::is_left(worker, &jobs);
    end(worker, leader, jobs, &outcome, update, own_follows)
}

/// Ends the rollback that a dead worker began.
fn go_on_back(
    worker: &Worker,
    leader: &JobId,
    jobs: Vec<Job>,
    intent: rollback::Intent,
) -> Result<()> {
    let changes: Vec<Change> = intent.former.iter().map(|f| f.change.clone()).collect();
    let mut update = Update::resume(worker, &changes);
    update.step(Event::Verify)?;
    let before = Before::remembered(worker, leader, &changes)?;
    let undone: Vec<Change> = intent.former.iter().map(Former::undone).collect();
    if let Err(error) = worker.packages.repair(
        &undone,
        &job::log(&worker.paths, leader),
        &mut Repairing::new(worker, leader),
    ) {
        journal::database_problem(leader, &format!("{error:#}"));
    }
    let checks = intent.checks.clone();
    let former = intent.former.clone();
    let done = rollback::resume(worker, leader, &before, intent)?;
    Before::forget(&worker.paths, leader);
    let mut jobs = jobs;
    if let [job] = &mut jobs[..]
        && job.request.kind == Kind::Rollback
    {
        manual::resumed(worker, job, done, &mut update);
        return worker.record(&mut jobs);
    }
    let concluded = Concluded {
        judgement: Judgement {
            checks,
            ..Judgement::default()
        },
        applied: noted(),
        former,
        rollback: Some(done),
        unfinished: None,
        removed: Vec::new(),
    };
    let outcome = Outcome::Changed(Box::new(concluded));
    end(worker, leader, jobs, &outcome, update, false)
}

fn noted() -> Applied {
    Applied {
        ended: Ended::Done,
        kept_back: Vec::new(),
        notes: vec![NOTE.to_owned()],
        failures: Vec::new(),
        displaced: false,
        interrupted: true,
    }
}

fn end(
    worker: &Worker,
    leader: &JobId,
    mut jobs: Vec<Job>,
    outcome: &Outcome,
    mut update: Update<'_>,
    own_follows: bool,
) -> Result<()> {
    settle::finish(worker, &mut jobs, outcome, &mut update, own_follows);
    settle::stamp(&mut jobs, &update);
    attempt::cap_log(worker, leader);
    if own_follows {
        let (going_on, ended) = own::go_on(worker, jobs);
        put_back(worker, leader, &going_on)?;
        jobs = ended;
    }
    worker.record(&mut jobs)
}

fn put_back(worker: &Worker, transaction: &JobId, jobs: &[Job]) -> Result<()> {
    for job in jobs {
        queue::put_back(&worker.paths, job)?;
    }
    remove_durably(&job::intent(&worker.paths, transaction))
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("running.json")
}
