//! Recovery: jobs that a worker left when it died are requeued, or finished by what is on the disk.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::fs::{remove_durably, remove_leftovers};
use crate::package::{self, Change, RollbackItem, TransactionEnd, TransactionReport};
use crate::request::{JobId, Kind};
use crate::state::at_work;
use crate::state::cache::Cache;
use crate::state::job::{self, Job};
use crate::state::life::JobEvent;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::in_flight::{self, forget, remember, unfinished};
use crate::worker::bookkeeping::intent::{Intent, intent_of};
use crate::worker::bookkeeping::job_result::{self, NOTE, record_applied};
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::jobs::{batch, crash_limit, orphans, record, undo};
use crate::worker::model::lifecycle::PhaseEvent;
use crate::worker::model::partial::{self, Approved, done};
use crate::worker::model::self_package::{self, is_asked_for};
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::verify::{Baseline, Verification};
use crate::worker::steps::{gate, hold_off, rollback};
use crate::worker::transaction::conclude::conclude;
use crate::worker::transaction::finish::{JobsEnd, finish_jobs};
use crate::worker::transaction::outcome::{Concluded, TransactionOutcome};
use crate::{PACKAGE, exec, journal, queue};

/// Finishes what a dead worker began; whether there was anything. A job without an intent changed nothing and is
/// requeued. For one with an intent the package database is repaired and decides; no package is changed twice.
pub fn run(ctx: &Context) -> Result<bool> {
    sweep(ctx)?;
    let listed = in_flight::ids(ctx);
    let orphans = orphans::find(ctx, listed.as_deref().unwrap_or_default());
    if listed.is_none() && orphans.is_empty() {
        orphans::looked(ctx)?;
        return Ok(false);
    }
    at_work::end(&ctx.paths);
    let ids = [listed.unwrap_or_default(), orphans.clone()].concat();
    let mut transactions = unfinished(ctx, &ids);
    if !transactions.is_empty() {
        close_gate(ctx, &transactions)?;
        let idle = ctx
            .packages
            .wait_until_idle(&mut Monitor::refresh(ctx, transactions.keys().next()));
        idle.context("a package manager that an interrupted worker started is still at work")?;
    }
    crash_limit::count(ctx, &mut transactions)?;
    let is_work = !transactions.is_empty();
    let _held_off = is_work.then(|| hold_off::hold_off(ctx, "an interrupted update is finished"));
    if !orphans.is_empty() {
        for (transaction, jobs) in &mut transactions {
            *jobs = orphans::end(ctx, transaction, std::mem::take(jobs), &orphans)?;
        }
        // from here on they are in flight, should this worker die as well
        remember(ctx, transactions.values().flatten())?;
    }
    judge_all(ctx, transactions)?;
    forget(ctx)?;
    orphans::looked(ctx)?;
    Ok(true)
}

/// Finishes or requeues the jobs of every interrupted transaction.
fn judge_all(ctx: &Context, transactions: BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    for (transaction, jobs) in transactions {
        let jobs = crash_limit::give_up(ctx, &transaction, jobs)?;
        if jobs.is_empty() {
            continue;
        }
        if let Some(intent) = rollback::Intent::load(&ctx.paths, &transaction)? {
            resume_rollback(ctx, &transaction, jobs, intent)?;
            continue;
        }
        match intent_of(ctx, &transaction) {
            Some(Intent::Activated { changes, .. })
                if self_package::predates_self_update(&jobs, &changes) =>
            {
                requeue(ctx, &transaction, &jobs)?;
            }
            Some(Intent::Activated { changes, former }) => {
                let done = repair_interrupted(ctx, &transaction, &changes)?;
                match done.filter(|_| !jobs.iter().any(|job| job.progress().is_requeued())) {
                    Some(done) => {
                        let jobs = keep_done(ctx, &transaction, jobs, &done, &former)?;
                        requeue(ctx, &transaction, &jobs)?;
                    }
                    None => judge(ctx, &transaction, jobs, Approved { changes, former })?,
                }
            }
            _ => requeue(ctx, &transaction, &jobs)?,
        }
    }
    Ok(())
}

/// Removes temporary files of writers that died, once after each boot.
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

/// Closes the gate of every transaction, and ends a package manager that outlived its worker and had not passed the
/// gate: its job is requeued and must not run twice, nor wait for the downloads of the first run.
fn close_gate(ctx: &Context, transactions: &BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    for (transaction, jobs) in transactions {
        let is_apply = jobs.iter().any(|job| job.request.kind != Kind::Refresh);
        let rolls_back = rollback::shut_out_former(&ctx.paths, transaction)?;
        let shut = is_apply && Intent::Stopped.create(&job::intent(&ctx.paths, transaction))?;
        if shut {
            exec::end_leftovers(&gate::arguments(transaction).join(" "))?;
        }
        let phase = match (rolls_back, is_apply && !shut) {
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

/// Repairs what the interrupted transaction left. If that worked and some of its changes were never begun, its jobs
/// can be requeued for the rest, and the applied changes are returned; `None` if the transaction must be judged.
fn repair_interrupted(
    ctx: &Context,
    transaction: &JobId,
    changes: &[Change],
) -> Result<Option<Vec<Change>>> {
    let log = job::log(&ctx.paths, transaction);
    if let Err(error) = ctx
        .packages
        .repair(changes, &log, &mut Monitor::repair(ctx, transaction))
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

/// Notes in each record what of it is applied and that it was requeued in part. A transaction that is interrupted
/// again, perhaps by its own effects, is judged instead: it is not retried for ever.
fn keep_done(
    ctx: &Context,
    transaction: &JobId,
    mut jobs: Vec<Job>,
    done: &[Change],
    former: &[RollbackItem],
) -> Result<Vec<Job>> {
    record_applied(transaction, &mut jobs, done, former);
    for job in &mut jobs {
        job_result::take(job, JobEvent::RequeueInPart);
    }
    Baseline::copy_to_jobs(ctx, transaction, &jobs)?;
    Job::save_all(&ctx.paths, &jobs)?;
    Ok(jobs)
}

/// Judges a transaction as the worker would have that began it.
fn judge(ctx: &Context, transaction: &JobId, jobs: Vec<Job>, approved: Approved) -> Result<()> {
    let mut update = CurrentUpdate::resume(ctx, &approved.changes);
    let approved = partial::AppliedSoFar::of(&jobs).with(approved);
    let before = Baseline::remembered(ctx, transaction, &approved.changes)?;
    let is_self_package_among = self_package::is_among(&approved.changes);
    let outcome = conclude(ctx, transaction, &before, approved, noted(), &mut update)?;
    let self_package_follows = !is_self_package_among && is_self_package_left(ctx, &jobs);
    end(
        ctx,
        transaction,
        jobs,
        &outcome,
        update,
        self_package_follows,
    )
}

/// Finishes the rollback that a dead worker began.
fn resume_rollback(
    ctx: &Context,
    transaction: &JobId,
    jobs: Vec<Job>,
    intent: rollback::Intent,
) -> Result<()> {
    let changes: Vec<Change> = intent.former.iter().map(|f| f.change.clone()).collect();
    let mut update = CurrentUpdate::resume(ctx, &changes);
    update.step(PhaseEvent::Verify)?;
    let before = Baseline::remembered(ctx, transaction, &changes)?;
    let undone: Vec<Change> = intent.former.iter().map(RollbackItem::undone).collect();
    if let Err(error) = ctx.packages.repair(
        &undone,
        &job::log(&ctx.paths, transaction),
        &mut Monitor::repair(ctx, transaction),
    ) {
        journal::database_problem(transaction, &format!("{error:#}"));
    }
    let checks = intent.checks.clone();
    let former = intent.former.clone();
    let done = rollback::resume(ctx, transaction, &before, intent)?;
    Baseline::forget(&ctx.paths, transaction);
    let mut jobs = jobs;
    if let [job] = &mut jobs[..]
        && job.request.kind == Kind::Rollback
    {
        undo::resumed(ctx, job, done, &mut update);
        return record::finish(ctx, &mut jobs);
    }
    let concluded = Concluded {
        judgement: Verification {
            checks,
            ..Verification::default()
        },
        applied: noted(),
        former,
        rollback: Some(done),
        unfinished: None,
        removed: Vec::new(),
    };
    let outcome = TransactionOutcome::Changed(Box::new(concluded));
    end(ctx, transaction, jobs, &outcome, update, false)
}

fn noted() -> TransactionReport {
    TransactionReport {
        ended: TransactionEnd::Done,
        kept_back: Vec::new(),
        notes: vec![NOTE.to_owned()],
        failures: Vec::new(),
        displaced: false,
        interrupted: true,
    }
}

fn end(
    ctx: &Context,
    transaction: &JobId,
    mut jobs: Vec<Job>,
    outcome: &TransactionOutcome,
    mut update: CurrentUpdate<'_>,
    self_package_follows: bool,
) -> Result<()> {
    let end = JobsEnd::TransactionOutcome {
        outcome,
        self_package_follows,
    };
    finish_jobs(ctx, &mut jobs, &end, &mut update);
    if self_package_follows {
        let (continuing, ended) = batch::split_continuing(ctx, jobs);
        requeue(ctx, transaction, &continuing)?;
        jobs = ended;
    }
    record::finish(ctx, &mut jobs)
}

fn requeue(ctx: &Context, transaction: &JobId, jobs: &[Job]) -> Result<()> {
    for job in jobs {
        queue::requeue(&ctx.paths, job)?;
    }
    remove_durably(&job::intent(&ctx.paths, transaction))
}

/// Whether one of the jobs asks for our own package and an update of it is pending.
pub fn is_self_package_left(ctx: &Context, jobs: &[Job]) -> bool {
    let cache = Cache::load(&ctx.paths);
    let is_self_package = |update: &package::Update| update.package == PACKAGE;
    jobs.iter().any(is_asked_for)
        && ctx
            .packages
            .pending(&cache.failed_sources())
            .is_ok_and(|pending| pending.updates.iter().any(is_self_package))
}
