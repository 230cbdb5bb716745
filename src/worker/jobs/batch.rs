//! Applying updates: which jobs share a transaction, and what becomes of each.

use std::collections::VecDeque;

use anyhow::Result;

use crate::PACKAGE;
use crate::host::systemd;
use crate::queue::{Decision, parked};
use crate::request::JobId;
use crate::state::job::{Job, JobStatus, WaitsFor};
use crate::state::life::JobEvent;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::errors::{self, RefreshFailed};
use crate::worker::bookkeeping::in_flight::{assign_transaction, set_transaction};
use crate::worker::bookkeeping::intent::Intent;
use crate::worker::bookkeeping::job_result::{self, cancel, fail, is_stopped, not_begun, stamp};
use crate::worker::bookkeeping::phase::{self, CurrentUpdate};
use crate::worker::jobs::record;
use crate::worker::model::lifecycle::PhaseEvent;
use crate::worker::model::partial;
use crate::worker::model::selection::target_of;
use crate::worker::model::self_package::is_asked_for;
use crate::worker::steps::{foreign_shutdown, preconditions, refresh};
use crate::worker::transaction::attempt::{self, Ending};
use crate::worker::transaction::finish::{JobsEnd, finish_jobs};
use crate::worker::transaction::outcome::TransactionOutcome;
use crate::worker::transaction::plan::Scope;
use crate::worker::transaction::unfinished;

/// Serves the apply jobs of a batch: the jobs as they ended, and the result of the refresh before them.
pub fn run(ctx: &Context, jobs: Vec<Job>) -> (Vec<Job>, Result<()>) {
    let mut update = CurrentUpdate::begin(ctx, &target_of(&jobs));
    let refreshed = update
        .step(PhaseEvent::Begin)
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
        good: jobs,
    } = preconditions::sort(ctx, jobs);
    if jobs.is_empty() {
        let why = ended.first().and_then(|job| job.error.clone());
        update.fail(&why.unwrap_or_default());
        stamp(&mut ended, &update);
        return (ended, refreshed);
    }
    let mix = |job: &Job, first: &Job| job.request.options.mixes_with(&first.request.options);
    let mut batch = Batch {
        ctx,
        due: split(jobs, mix)
            .map(|jobs| Work::of(jobs, Scope::All))
            .collect(),
        ended,
    };
    if let Some(first) = batch.due.front_mut() {
        first.update = Some(update);
    }
    while let Some(work) = batch.due.pop_front() {
        batch.serve(work);
    }
    let ended = batch.ended;
    // a success keeps the list true by itself
    if ended.iter().any(|job| job.status != JobStatus::Succeeded)
        && let Err(error) = refresh::list_pending(ctx)
    {
        tracing::warn!("pending updates could not be listed: {error:#}");
    }
    (ended, refreshed)
}

/// The jobs of a batch: what is due, the next first, and what has ended.
struct Batch<'a> {
    ctx: &'a Context,
    due: VecDeque<Work<'a>>,
    ended: Vec<Job>,
}

/// The jobs that one transaction is to serve.
struct Work<'a> {
    jobs: Vec<Job>,
    scope: Scope,
    /// What the update is of.
    target: String,
    /// The update, if it has begun already.
    update: Option<CurrentUpdate<'a>>,
}

impl Work<'_> {
    fn of(jobs: Vec<Job>, scope: Scope) -> Self {
        Self {
            target: target_of(&jobs),
            jobs,
            scope,
            update: None,
        }
    }

    /// Whether all jobs ask for the same.
    fn is_alone(jobs: &[Job], scope: Scope) -> bool {
        let mut targets = jobs.iter().map(|job| &job.request.packages);
        let first = targets.next();
        scope == Scope::SelfOnly || targets.all(|target| Some(target) == first)
    }
}

/// Groups the jobs, each group by its first job, in their order.
fn split(
    mut jobs: Vec<Job>,
    belongs: impl Fn(&Job, &Job) -> bool,
) -> impl Iterator<Item = Vec<Job>> {
    std::iter::from_fn(move || {
        let first = jobs.first()?.clone();
        let (group, others): (Vec<Job>, Vec<Job>) = std::mem::take(&mut jobs)
            .into_iter()
            .partition(|job| belongs(job, &first));
        jobs = others;
        Some(group)
    })
}

impl Batch<'_> {
    /// One transaction for all jobs of this work. What is still to be done for them becomes the next work.
    fn serve(&mut self, work: Work<'_>) {
        let (ctx, scope) = (self.ctx, work.scope);
        let mut update = work
            .update
            .unwrap_or_else(|| phase::begin(ctx, &work.target));
        let mut jobs = work.jobs;
        let Some(transaction) = jobs.first().map(|job| job.id().clone()) else {
            return;
        };
        if let Err(error) = assign_transaction(ctx, &mut jobs, &transaction) {
            jobs.iter_mut().for_each(|job| fail(job, &error));
            update.fail(&format!("{error:#}"));
            return self.ended.append(&mut jobs);
        }
        let ending = attempt::run(ctx, &transaction, &jobs, &mut update, scope);
        job_result::cap_log(ctx, &transaction);
        match ending {
            Ok(ending) => self.conclude(jobs, scope, ending, &mut update),
            // what was let through is not done again, one by one or otherwise: the next worker judges it
            Err(error)
                if error.is::<errors::DeferredToNextBoot>() || is_activated(ctx, &transaction) =>
            {
                tracing::warn!("left to the next worker to verify: {error:#}");
                systemd::status(&format!("{error:#}"));
                self.ended.append(&mut jobs);
            }
            Err(error) if error.is::<errors::Postponed>() => {
                update.cancel();
                self.ended.extend(give_up_all(ctx, jobs, &error, &update));
            }
            Err(error) => {
                update.fail(&format!("{error:#}"));
                if Work::is_alone(&jobs, scope) || is_offline(&error) {
                    self.ended.extend(give_up_all(ctx, jobs, &error, &update));
                } else {
                    self.one_by_one(jobs, scope);
                }
            }
        }
    }

    /// What follows from a transaction that has ended.
    fn conclude(
        &mut self,
        mut jobs: Vec<Job>,
        scope: Scope,
        ending: Ending,
        update: &mut CurrentUpdate<'_>,
    ) {
        let Ending {
            outcome,
            self_package_follows,
        } = ending;
        match outcome {
            TransactionOutcome::Cancelled if !self.ctx.stopping() => {
                self.without_cancelled(jobs, scope, update);
            }
            TransactionOutcome::Changed(concluded)
                if concluded.is_wholly_undone() && !Work::is_alone(&jobs, scope) =>
            {
                update.rolled_back(&concluded.judgement.reason());
                // and with it what had been done before
                jobs.iter_mut().for_each(partial::nothing_is_done);
                self.one_by_one(jobs, scope);
            }
            outcome => {
                let end = JobsEnd::TransactionOutcome {
                    outcome: &outcome,
                    self_package_follows,
                };
                finish_jobs(self.ctx, &mut jobs, &end, update);
                if self_package_follows {
                    self.self_package(jobs);
                } else {
                    self.ended.append(&mut jobs);
                }
            }
        }
    }

    /// Next, each target is served by a transaction of its own, so that one bad package fails alone.
    fn one_by_one(&mut self, mut jobs: Vec<Job>, scope: Scope) {
        // those whose turn comes later must not be found under the intent of the one before
        if set_transaction(&mut jobs, |job| job.id().clone())
            && let Err(error) = Job::save_all(&self.ctx.paths, &jobs)
        {
            jobs.iter_mut().for_each(|job| fail(job, &error));
            return self.ended.append(&mut jobs);
        }
        let same = |job: &Job, first: &Job| job.request.packages == first.request.packages;
        let works = split(jobs, same).map(|jobs| Work::of(jobs, scope));
        let works: Vec<Work<'_>> = works.collect();
        works
            .into_iter()
            .rev()
            .for_each(|work| self.due.push_front(work));
    }

    /// Ends the jobs that were cancelled; the others are served next.
    fn without_cancelled(&mut self, jobs: Vec<Job>, scope: Scope, update: &CurrentUpdate<'_>) {
        let ctx = self.ctx;
        let (cancelled, others): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| Decision::Cancel.is_left(&ctx.paths, job.id()));
        let (parts, mut cancelled): (Vec<Job>, Vec<Job>) =
            cancelled.into_iter().partition(partial::is_unverified);
        cancelled.iter_mut().for_each(cancel);
        stamp(&mut cancelled, update);
        cancelled.extend(unfinished::end(ctx, parts, job_result::IN_PART));
        // the caller who cancelled waits for this, and not for the others
        if let Err(error) = record::finish(ctx, &mut cancelled) {
            tracing::error!("{error:#}");
        }
        self.ended.append(&mut cancelled);
        if !others.is_empty() {
            self.due.push_front(Work::of(others, scope));
        }
    }

    /// Next comes our own package, for the jobs that ask for it and have succeeded so far.
    fn self_package(&mut self, jobs: Vec<Job>) {
        let (jobs, mut ended) = split_continuing(self.ctx, jobs);
        // the callers of these need not wait for more
        if let Err(error) = record::finish(self.ctx, &mut ended) {
            tracing::error!("{error:#}");
        }
        self.ended.append(&mut ended);
        if !jobs.is_empty() {
            self.due.push_front(Work {
                target: PACKAGE.to_owned(),
                ..Work::of(jobs, Scope::SelfOnly)
            });
        }
    }
}

fn is_offline(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<RefreshFailed>()
        .is_some_and(|failed| failed.offline)
}

fn is_activated(ctx: &Context, transaction: &JobId) -> bool {
    matches!(
        Intent::load(&ctx.paths, transaction),
        Ok(Some(Intent::Activated { .. }))
    )
}

/// Ends jobs that cannot be done now.
fn give_up_all(
    ctx: &Context,
    jobs: Vec<Job>,
    error: &anyhow::Error,
    update: &CurrentUpdate<'_>,
) -> Vec<Job> {
    // during a shutdown, services end for reasons of their own: the next worker judges what was applied
    let is_part = |job: &Job| partial::is_unverified(job) && !ctx.stopping();
    let (parts, mut ended): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_part);
    ended.iter_mut().for_each(|job| give_up(ctx, job, error));
    stamp(&mut ended, update);
    ended.extend(unfinished::end(ctx, parts, &format!("{error:#}")));
    ended
}

/// Ends a job that cannot be done now; it is deferred instead if the network or a shutdown is the reason and its
/// options allow that.
fn give_up(ctx: &Context, job: &mut Job, error: &anyhow::Error) {
    // one of which a part is done has a record to keep
    let may_wait = !is_stopped(ctx, job) && !job.is_done_in_part();
    if let (true, Some(errors::Postponed(why))) = (may_wait, error.downcast_ref()) {
        foreign_shutdown::wait(ctx, job, why);
    } else if may_wait && job.request.options.wait_for_network && is_offline(error) {
        let why = format!("{error:#}");
        if let Err(error) = parked::defer(&ctx.paths, job, WaitsFor::Network, &why) {
            fail(job, &error);
        }
    } else {
        not_begun(ctx, job, error);
    }
}

/// Splits off the jobs that still need linux-patch-api itself updated; they keep the changes recorded so far.
pub fn split_continuing(ctx: &Context, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let follows = |job: &Job| job.status == JobStatus::Succeeded && is_asked_for(job);
    let (mut continuing, mut ended): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(follows);
    for job in &mut continuing {
        job_result::take(job, JobEvent::SelfPackageFollows);
    }
    if let Err(error) = Job::save_all(&ctx.paths, &continuing) {
        for mut job in continuing {
            fail(&mut job, &error);
            ended.push(job);
        }
        return (Vec::new(), ended);
    }
    (continuing, ended)
}
