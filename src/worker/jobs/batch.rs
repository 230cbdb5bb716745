//! Applying updates: which jobs share a transaction, and what becomes of each.

use anyhow::Result;

use crate::PACKAGE;
use crate::host::systemd;
use crate::queue::{Decision, parked};
use crate::request::JobId;
use crate::state::job::{Job, JobStatus, WaitsFor};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::errors::{self, RefreshFailed};
use crate::worker::bookkeeping::in_flight::{assign_transaction, set_transaction};
use crate::worker::bookkeeping::intent::Intent;
use crate::worker::bookkeeping::job_result::{self, cancel, fail, not_begun, stamp};
use crate::worker::bookkeeping::phase::{self, Update, begin};
use crate::worker::jobs::record;
use crate::worker::model::lifecycle::Event;
use crate::worker::model::partial;
use crate::worker::model::selection::target_of;
use crate::worker::model::self_package::is_asked_for;
use crate::worker::steps::{foreign_shutdown, preconditions, refresh};
use crate::worker::transaction::attempt::{self, Ending};
use crate::worker::transaction::finish::finish;
use crate::worker::transaction::outcome::Outcome;
use crate::worker::transaction::plan::Scope;
use crate::worker::transaction::unfinished;

/// Serves the apply jobs of a batch; the jobs as they ended, and how the refresh before them went.
pub fn run(ctx: &Context, jobs: Vec<Job>) -> (Vec<Job>, Result<()>) {
    let mut update = Update::begin(ctx, &target_of(&jobs));
    let refreshed = update
        .step(Event::Begin)
        .and_then(|()| refresh::run(ctx, jobs.first().map(Job::id)));
    if let Err(error) = &refreshed {
        if ctx.stopping() {
            update.cancel();
        } else {
            update.fail(&format!("{error:#}"));
        }
        return (give_up_all(ctx, jobs, error, &update), refreshed);
    }
    let preconditions::Sorted {
        aside: mut ended,
        good: mut jobs,
    } = preconditions::sort(ctx, jobs);
    if jobs.is_empty() {
        let why = ended.first().and_then(|job| job.error.clone());
        update.fail(&why.unwrap_or_default());
        stamp(&mut ended, &update);
        return (ended, refreshed);
    }
    let mut update = Some(update);
    while !jobs.is_empty() {
        let options = jobs
            .first()
            .map(|job| job.request.options.clone())
            .unwrap_or_default();
        let (batch, others): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| job.request.options.mixes_with(&options));
        let update = update.take().unwrap_or_else(|| again(ctx, &batch));
        ended.extend(transact(ctx, batch, update, Scope::All));
        jobs = others;
    }
    // a success keeps the list true by itself
    if ended.iter().any(|job| job.status != JobStatus::Succeeded)
        && let Err(error) = refresh::list_pending(ctx)
    {
        tracing::warn!("what is pending could not be listed: {error:#}");
    }
    (ended, refreshed)
}

/// Another update after the same refresh.
fn again<'a>(ctx: &'a Context, jobs: &[Job]) -> Update<'a> {
    begin(ctx, &target_of(jobs))
}

fn is_offline(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<RefreshFailed>()
        .is_some_and(|failed| failed.offline)
}

/// Ends jobs that cannot be done now.
fn give_up_all(
    ctx: &Context,
    jobs: Vec<Job>,
    error: &anyhow::Error,
    update: &Update<'_>,
) -> Vec<Job> {
    // services end with the host: who comes after a shutdown could not tell why
    let is_part = |job: &Job| partial::is_unjudged(job) && !ctx.stopping();
    let (parts, mut ended): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_part);
    ended.iter_mut().for_each(|job| give_up(ctx, job, error));
    stamp(&mut ended, update);
    ended.extend(unfinished::end(ctx, parts, &format!("{error:#}")));
    ended
}

/// Ends a job that cannot be done now: it waits for the network when it may, and that is the reason.
fn give_up(ctx: &Context, job: &mut Job, error: &anyhow::Error) {
    not_begun(ctx, job, error);
    // one of which a part is done has a record to keep
    if job.is_done_in_part() || job.status == JobStatus::Cancelled {
        return;
    }
    if let Some(errors::Postponed(why)) = error.downcast_ref() {
        foreign_shutdown::wait(ctx, job, why);
    } else if job.request.options.wait_for_network && is_offline(error) {
        let why = format!("{error:#}");
        if let Err(error) = parked::defer(&ctx.paths, job, WaitsFor::Network, &why) {
            fail(job, &error);
        }
    }
}

/// One transaction for all jobs; when it fails before it changed anything, one for each target.
pub fn transact(
    ctx: &Context,
    mut jobs: Vec<Job>,
    mut update: Update<'_>,
    part: Scope,
) -> Vec<Job> {
    let Some(transaction) = jobs.first().map(|job| job.id().clone()) else {
        return jobs;
    };
    if let Err(error) = assign_transaction(ctx, &mut jobs, &transaction) {
        jobs.iter_mut().for_each(|job| fail(job, &error));
        update.fail(&format!("{error:#}"));
        return jobs;
    }
    let ending = attempt::run(ctx, &transaction, &jobs, &mut update, part);
    job_result::cap_log(ctx, &transaction);
    match ending {
        Ok(Ending {
            outcome: Outcome::Cancelled,
            ..
        }) if !ctx.stopping() => without_cancelled(ctx, jobs, &update, part),
        Ok(Ending {
            outcome: Outcome::Changed(concluded),
            ..
        }) if concluded.is_wholly_undone() && !is_alone(&jobs, part) => {
            update.roll_back(&concluded.judgement.reason());
            // and with it what had been done before
            jobs.iter_mut().for_each(partial::nothing_is_done);
            one_by_one(ctx, jobs, part)
        }
        Ok(Ending {
            outcome,
            self_package_follows,
        }) => {
            finish(ctx, &mut jobs, &outcome, &mut update, self_package_follows);
            stamp(&mut jobs, &update);
            if self_package_follows {
                last(ctx, jobs)
            } else {
                jobs
            }
        }
        // what was let through is not done again, one by one or otherwise: the next worker judges it
        Err(error)
            if error.is::<errors::DeferredToNextBoot>() || is_activated(ctx, &transaction) =>
        {
            tracing::warn!("left to be judged: {error:#}");
            systemd::status(&format!("{error:#}"));
            jobs
        }
        Err(error) => {
            if error.is::<errors::Postponed>() {
                update.cancel();
                return give_up_all(ctx, jobs, &error, &update);
            }
            update.fail(&format!("{error:#}"));
            if is_alone(&jobs, part) || is_offline(&error) {
                return give_up_all(ctx, jobs, &error, &update);
            }
            one_by_one(ctx, jobs, part)
        }
    }
}

fn is_activated(ctx: &Context, transaction: &JobId) -> bool {
    matches!(
        Intent::load(&ctx.paths, transaction),
        Ok(Some(Intent::Activated { .. }))
    )
}

/// Whether all jobs ask for the same.
fn is_alone(jobs: &[Job], part: Scope) -> bool {
    let mut targets = jobs.iter().map(|job| &job.request.packages);
    let first = targets.next();
    part == Scope::SelfOnly || targets.all(|target| Some(target) == first)
}

/// Serves each target by a transaction of its own, so that one bad package fails alone.
fn one_by_one(ctx: &Context, mut jobs: Vec<Job>, part: Scope) -> Vec<Job> {
    let mut ended = Vec::new();
    // those whose turn comes later must not be found under the intent of the one before
    if set_transaction(&mut jobs, |job| job.id().clone())
        && let Err(error) = Job::save_all(&ctx.paths, &jobs)
    {
        jobs.iter_mut().for_each(|job| fail(job, &error));
        return jobs;
    }
    while let Some(target) = jobs.first().map(|job| job.request.packages.clone()) {
        let (batch, others): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| job.request.packages == target);
        let update = again(ctx, &batch);
        ended.extend(transact(ctx, batch, update, part));
        jobs = others;
    }
    ended
}

/// Ends the jobs that somebody cancelled, and serves the others.
fn without_cancelled(ctx: &Context, jobs: Vec<Job>, update: &Update<'_>, part: Scope) -> Vec<Job> {
    let (cancelled, others): (Vec<Job>, Vec<Job>) = jobs
        .into_iter()
        .partition(|job| Decision::Cancel.is_left(&ctx.paths, job.id()));
    let (parts, mut cancelled): (Vec<Job>, Vec<Job>) =
        cancelled.into_iter().partition(partial::is_unjudged);
    cancelled.iter_mut().for_each(cancel);
    stamp(&mut cancelled, update);
    cancelled.extend(unfinished::end(ctx, parts, job_result::IN_PART));
    // whoever cancelled waits for this, and not for the others
    if let Err(error) = record::finish(ctx, &mut cancelled) {
        tracing::error!("{error:#}");
    }
    if !others.is_empty() {
        let update = again(ctx, &others);
        cancelled.extend(transact(ctx, others, update, part));
    }
    cancelled
}

/// Our own package, for the jobs that ask for it and that have come to a good end so far.
pub fn last(ctx: &Context, jobs: Vec<Job>) -> Vec<Job> {
    let (continuing, mut ended) = split_continuing(ctx, jobs);
    // whoever waits for one of these need not wait for more
    if let Err(error) = record::finish(ctx, &mut ended) {
        tracing::error!("{error:#}");
    }
    if !continuing.is_empty() {
        let update = phase::begin(ctx, PACKAGE);
        ended.extend(transact(ctx, continuing, update, Scope::SelfOnly));
    }
    ended
}

/// Tells the jobs for which our own package follows from those that have ended; those of the first kind
/// go on, with what they have changed already in their record.
pub fn split_continuing(ctx: &Context, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let follows = |job: &Job| job.status == JobStatus::Succeeded && is_asked_for(job);
    let (mut continuing, mut ended): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(follows);
    for job in &mut continuing {
        job.status = JobStatus::Running;
        job.earlier.push(job.update.clone());
    }
    if let Err(error) = Job::save_all(&ctx.paths, &continuing) {
        for mut job in continuing {
            crate::worker::bookkeeping::job_result::fail(&mut job, &error);
            ended.push(job);
        }
        return (Vec::new(), ended);
    }
    (continuing, ended)
}
