//! Jobs that a worker left behind when it died: found again, judged by what is on the disk.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::conclude::conclude;
use super::gate::Intent;
use super::lifecycle::Event;
use super::progress::{self, Quiet, Repairing};
use super::settle::{self, Concluded, Outcome};
use super::update::Update;
use super::verify::{Before, Judgement};
use super::{attempt, deaths, manual, orphans, own, parts, reboot, rollback, select};
use crate::exec;
use crate::fs::{remove_durably, remove_leftovers, write_atomically};
use crate::host::systemd;
use crate::package::{Applied, Change, Database, Ended, Former};
use crate::paths::Paths;
use crate::request::{JobId, Kind, Target};
use crate::state::at_work;
use crate::state::job::{self, Job};
use crate::state::{self};
use crate::worker::bookkeeping::context::Context;
use crate::worker::jobs::record;
use crate::{journal, queue};

/// Finishes what an interrupted worker left.
const RECOVERY: &str = "patch-recover.service";

/// Serves the queue, and finishes what it finds.
const DRAIN: &str = "patch-apply.service";

/// What is noted with a job that was judged by another worker than the one that ran it.
const NOTE: &str = "the worker was interrupted while it changed packages";

/// Remembers which jobs are in a worker's hands.
pub fn remember<'a>(ctx: &Context, jobs: impl IntoIterator<Item = &'a Job>) -> Result<()> {
    let ids: Vec<&JobId> = jobs.into_iter().map(Job::id).collect();
    write_atomically(&path(&ctx.paths), &serde_json::to_vec(&ids)?, 0o644)
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
pub fn forget(ctx: &Context) -> Result<()> {
    remove_durably(&path(&ctx.paths))?;
    at_work::end(&ctx.paths);
    progress::forget(ctx);
    Ok(())
}

/// Ends what a dead worker began. A job without an intent changed nothing and goes back into the queue.
/// One with an intent is healed, and judged by the package database; no package is ever changed twice. Whether
/// there was one.
pub fn run(ctx: &Context) -> Result<bool> {
    sweep(ctx)?;
    let listed = in_hands(ctx);
    let orphans = orphans::find(ctx, listed.as_deref().unwrap_or_default());
    if listed.is_none() && orphans.is_empty() {
        orphans::looked(ctx)?;
        return Ok(false);
    }
    at_work::end(&ctx.paths);
    let ids = [listed.unwrap_or_default(), orphans.clone()].concat();
    let mut transactions = unfinished(ctx, &ids);
    if !transactions.is_empty() {
        shut_the_gate(ctx, &transactions)?;
        let idle = ctx
            .packages
            .wait_until_idle(&mut Quiet::new(ctx, transactions.keys().next()));
        idle.context("a package manager that an interrupted worker started is still at work")?;
    }
    deaths::count(ctx, &mut transactions)?;
    let is_work = !transactions.is_empty();
    let _held_off = is_work.then(|| reboot::hold_off(ctx, "an interrupted update is finished"));
    if !orphans.is_empty() {
        for (transaction, jobs) in &mut transactions {
            *jobs = orphans::end(ctx, transaction, std::mem::take(jobs), &orphans)?;
        }
        // what is left of them is in this worker's hands from here on, should it not come to its end
        remember(ctx, transactions.values().flatten())?;
    }
    judge_all(ctx, transactions)?;
    forget(ctx)?;
    orphans::looked(ctx)?;
    Ok(true)
}

/// Ends or puts back the jobs of every interrupted transaction.
fn judge_all(ctx: &Context, transactions: BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    for (transaction, jobs) in transactions {
        let jobs = deaths::give_up(ctx, &transaction, jobs)?;
        if jobs.is_empty() {
            continue;
        }
        if let Some(intent) = rollback::Intent::load(&ctx.paths, &transaction)? {
            go_on_back(ctx, &transaction, jobs, intent)?;
            continue;
        }
        match intent_of(ctx, &transaction) {
            Some(Intent::Activated { changes, .. })
                if own::is_of_the_part_before(&jobs, &changes) =>
            {
                put_back(ctx, &transaction, &jobs)?;
            }
            Some(Intent::Activated { changes, former }) => {
                let done = heal(ctx, &transaction, &changes)?;
                match done.filter(|_| !jobs.iter().any(|job| job.put_back)) {
                    Some(done) => {
                        let jobs = keep_done(ctx, &transaction, jobs, &done, &former)?;
                        put_back(ctx, &transaction, &jobs)?;
                    }
                    None => judge(ctx, &transaction, jobs, &changes, former)?,
                }
            }
            _ => put_back(ctx, &transaction, &jobs)?,
        }
    }
    Ok(())
}

/// The jobs that are in a worker's hands, or were in those of a dead one; none when there is no list. Where
/// the list cannot be read, these are all whose records say that they have not ended.
fn in_hands(ctx: &Context) -> Option<Vec<JobId>> {
    match listed(&ctx.paths) {
        Ok(ids) => ids,
        Err(why) => {
            journal::state_unusable(&path(&ctx.paths), &why);
            Some(job::ids(&ctx.paths.jobs()))
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
pub fn running(ctx: &Context, transaction: &JobId) -> Vec<Job> {
    let ids = in_hands(ctx).unwrap_or_default();
    let jobs = unfinished(ctx, &ids).remove(transaction);
    jobs.unwrap_or_default()
}

/// Removes half files, once after each boot: before it, a writer may have died anywhere.
fn sweep(ctx: &Context) -> Result<()> {
    let swept = ctx.paths.run().join("swept");
    if swept.exists() {
        return Ok(());
    }
    for directory in [ctx.paths.jobs(), ctx.paths.state()] {
        remove_leftovers(&directory)?;
    }
    std::fs::write(&swept, "").with_context(|| format!("failed to write '{}'", swept.display()))
}

/// The jobs that have not ended, by the transaction that served them.
fn unfinished(ctx: &Context, ids: &[JobId]) -> BTreeMap<JobId, Vec<Job>> {
    let mut transactions: BTreeMap<JobId, Vec<Job>> = BTreeMap::new();
    for id in ids {
        if let Some(job) = Job::taken(&ctx.paths, id).filter(|job| !job.status.is_final()) {
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
pub fn intent_of(ctx: &Context, transaction: &JobId) -> Option<Intent> {
    Intent::load(&ctx.paths, transaction).unwrap_or_else(|why| {
        journal::state_unusable(&job::intent(&ctx.paths, transaction), &why);
        None
    })
}

/// A package manager that outlived its worker and is not yet through the gate stays outside, and is ended:
/// its job is done anew, must not be done twice, and must not wait for what a slow mirror still sends.
fn shut_the_gate(ctx: &Context, transactions: &BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    for (transaction, jobs) in transactions {
        let is_apply = jobs.iter().any(|job| job.request.kind != Kind::Refresh);
        let going_back = rollback::take_over(&ctx.paths, transaction)?;
        let shut = is_apply && Intent::Stopped.create(&job::intent(&ctx.paths, transaction))?;
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
fn heal(ctx: &Context, transaction: &JobId, changes: &[Change]) -> Result<Option<Vec<Change>>> {
    let log = job::log(&ctx.paths, transaction);
    if let Err(error) = ctx
        .packages
        .repair(changes, &log, &mut Repairing::new(ctx, transaction))
    {
        journal::database_problem(transaction, &format!("{error:#}"));
        return Ok(None);
    }
    let after = ctx.packages.installed()?;
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
    ctx: &Context,
    transaction: &JobId,
    mut jobs: Vec<Job>,
    done: &[Change],
    former: &[Former],
) -> Result<Vec<Job>> {
    enter(transaction, &mut jobs, done, former);
    jobs.iter_mut().for_each(|job| job.put_back = true);
    Before::hand_on(ctx, transaction, &jobs)?;
    Job::save_all(&ctx.paths, &jobs)?;
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
    ctx: &Context,
    leader: &JobId,
    jobs: Vec<Job>,
    changes: &[Change],
    former: Vec<Former>,
) -> Result<()> {
    let mut update = Update::resume(ctx, changes);
    let (changes, former) = parts::Done::of(&jobs).with(changes.to_vec(), former);
    let changes = &*changes;
    let before = Before::remembered(ctx, leader, changes)?;
    let intent = (changes, former);
    let outcome = conclude(ctx, leader, &before, intent, noted(), &mut update)?;
    let own_follows = !own::is_among(changes) && own::is_left(ctx, &jobs);
    end(ctx, leader, jobs, &outcome, update, own_follows)
}

/// Ends the rollback that a dead worker began.
fn go_on_back(
    ctx: &Context,
    leader: &JobId,
    jobs: Vec<Job>,
    intent: rollback::Intent,
) -> Result<()> {
    let changes: Vec<Change> = intent.former.iter().map(|f| f.change.clone()).collect();
    let mut update = Update::resume(ctx, &changes);
    update.step(Event::Verify)?;
    let before = Before::remembered(ctx, leader, &changes)?;
    let undone: Vec<Change> = intent.former.iter().map(Former::undone).collect();
    if let Err(error) = ctx.packages.repair(
        &undone,
        &job::log(&ctx.paths, leader),
        &mut Repairing::new(ctx, leader),
    ) {
        journal::database_problem(leader, &format!("{error:#}"));
    }
    let checks = intent.checks.clone();
    let former = intent.former.clone();
    let done = rollback::resume(ctx, leader, &before, intent)?;
    Before::forget(&ctx.paths, leader);
    let mut jobs = jobs;
    if let [job] = &mut jobs[..]
        && job.request.kind == Kind::Rollback
    {
        manual::resumed(ctx, job, done, &mut update);
        return record::finish(ctx, &mut jobs);
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
    end(ctx, leader, jobs, &outcome, update, false)
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
    ctx: &Context,
    leader: &JobId,
    mut jobs: Vec<Job>,
    outcome: &Outcome,
    mut update: Update<'_>,
    own_follows: bool,
) -> Result<()> {
    settle::finish(ctx, &mut jobs, outcome, &mut update, own_follows);
    settle::stamp(&mut jobs, &update);
    attempt::cap_log(ctx, leader);
    if own_follows {
        let (going_on, ended) = own::go_on(ctx, jobs);
        put_back(ctx, leader, &going_on)?;
        jobs = ended;
    }
    record::finish(ctx, &mut jobs)
}

fn put_back(ctx: &Context, transaction: &JobId, jobs: &[Job]) -> Result<()> {
    for job in jobs {
        queue::put_back(&ctx.paths, job)?;
    }
    remove_durably(&job::intent(&ctx.paths, transaction))
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("running.json")
}
