//! Applying updates: one transaction for the jobs of a batch, judged by the package database.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use super::conclude::conclude;
use super::gate::{Intent, expectation};
use super::lifecycle::Event;
use super::plan::{self, Part, Plan};
use super::progress::{self, Follower};
use super::refresh::RefreshFailed;
use super::settle::{self, Outcome, cancel, fail, finish, not_begun, stamp};
use super::update::Update;
use super::verify::Before;
use super::{Worker, gate, heal, own, parts, precondition, refresh, rollback, select, space};
use crate::fs::remove_durably;
use crate::host::{logind, systemd};
use crate::journal;
use crate::package::{Applied, Ended, KeptBack, Selection, Source, Transaction};
use crate::queue::{Mark, hold};
use crate::request::{JobId, Target};
use crate::sorted::InOrder;
use crate::state::cache::Cache;
use crate::state::job::{self, Job, JobStatus};
use crate::state::update::Phase;

/// The most bytes of a job's log that are kept.
const LOG_LIMIT: u64 = 1024 * 1024;

/// Serves the apply jobs of a batch; the jobs as they ended, and how the refresh before them went.
pub fn run(worker: &Worker, jobs: Vec<Job>) -> (Vec<Job>, Result<()>) {
    let mut update = Update::begin(worker, &target_of(&jobs));
    let refreshed = update
        .step(Event::Begin)
        .and_then(|()| refresh::run(worker));
    if let Err(error) = &refreshed {
        if worker.stopping() {
            update.cancel();
        } else {
            update.fail(&format!("{error:#}"));
        }
        return (give_up_all(worker, jobs, error, &update), refreshed);
    }
    let (mut ended, jobs) = precondition::refuse_unknown(worker, jobs);
    let precondition::Sorted {
        aside,
        good: mut jobs,
    } = precondition::sort(worker, jobs);
    ended.extend(aside);
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
        let update = update.take().unwrap_or_else(|| again(worker, &batch));
        ended.extend(transact(worker, batch, update, Part::Whole));
        jobs = others;
    }
    // a success keeps the list true by itself
    if ended.iter().any(|job| job.status != JobStatus::Succeeded)
        && let Err(error) = refresh::list_pending(worker)
    {
        tracing::warn!("what is pending could not be listed: {error:#}");
    }
    (ended, refreshed)
}

/// Another update after the same refresh.
fn again<'a>(worker: &'a Worker, jobs: &[Job]) -> Update<'a> {
    begin(worker, &target_of(jobs))
}

/// A new update, which has begun.
pub fn begin<'a>(worker: &'a Worker, target: &str) -> Update<'a> {
    let mut update = Update::begin(worker, target);
    if let Err(error) = update.step(Event::Begin) {
        tracing::error!("{error:#}");
    }
    update
}

/// How one part ended.
struct Ending {
    outcome: Outcome,
    /// Whether our own package was taken out, and is due now.
    own_follows: bool,
}

impl Ending {
    fn of(outcome: Outcome, own_follows: bool) -> Self {
        Self {
            outcome,
            own_follows,
        }
    }
}

/// Everything the jobs ask for, each name once.
pub fn target_of(jobs: &[Job]) -> String {
    let targets = jobs.iter().filter_map(|job| job.request.packages.as_ref());
    let names: BTreeSet<String> = targets.flat_map(Target::names).in_order();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

fn is_offline(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<RefreshFailed>()
        .is_some_and(|failed| failed.offline)
}

/// Ends jobs that cannot be done now.
fn give_up_all(
    worker: &Worker,
    jobs: Vec<Job>,
    error: &anyhow::Error,
    update: &Update<'_>,
) -> Vec<Job> {
    // services end with the host: who comes after a shutdown could not tell why
    let is_part = |job: &Job| parts::is_unjudged(job) && !worker.stopping();
    let (parts, mut ended): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_part);
    ended.iter_mut().for_each(|job| give_up(worker, job, error));
    stamp(&mut ended, update);
    ended.extend(parts::end(worker, parts, &format!("{error:#}")));
    ended
}

/// Ends a job that cannot be done now: it waits for the network when it may, and that is the reason.
fn give_up(worker: &Worker, job: &mut Job, error: &anyhow::Error) {
    not_begun(worker, job, error);
    // one of which a part is done has a record to keep
    if job.request.options.wait_for_network && !job.is_done_in_part() && is_offline(error) {
        let why = format!("{error:#}");
        if let Err(error) = hold::defer(&worker.paths, job, &why) {
            fail(job, &error);
        }
    }
}

/// One transaction for all jobs; when it fails before it changed anything, one for each target.
pub fn transact(
    worker: &Worker,
    mut jobs: Vec<Job>,
    mut update: Update<'_>,
    part: Part,
) -> Vec<Job> {
    let Some(leader) = jobs.first().map(|job| job.id().clone()) else {
        return jobs;
    };
    if let Err(error) = lead_all(worker, &mut jobs, &leader) {
        jobs.iter_mut().for_each(|job| fail(job, &error));
        update.fail(&format!("{error:#}"));
        return jobs;
    }
    let ending = attempts(worker, &leader, &jobs, &mut update, part);
    cap_log(worker, &leader);
    match ending {
        Ok(Ending {
            outcome: Outcome::Cancelled,
            ..
        }) if !worker.stopping() => without_cancelled(worker, jobs, &update, part),
        Ok(Ending {
            outcome: Outcome::Changed(concluded),
            ..
        }) if concluded.is_undone() && !is_alone(&jobs, part) => {
            update.roll_back(&concluded.judgement.reason());
            // and with it what had been done before
            jobs.iter_mut().for_each(parts::nothing_is_done);
            one_by_one(worker, jobs, part)
        }
        Ok(Ending {
            outcome,
            own_follows,
        }) => {
            finish(worker, &mut jobs, &outcome, &mut update, own_follows);
            stamp(&mut jobs, &update);
            if own_follows {
                own::last(worker, jobs)
            } else {
                jobs
            }
        }
        // what was let through is not done again, one by one or otherwise: the next worker judges it
        Err(error) if error.is::<heal::LeftForBoot>() || is_activated(worker, &leader) => {
            tracing::warn!("left to be judged: {error:#}");
            systemd::status(&format!("{error:#}"));
            jobs
        }
        Err(error) => {
            update.fail(&format!("{error:#}"));
            if is_alone(&jobs, part) || is_offline(&error) {
                return give_up_all(worker, jobs, &error, &update);
            }
            one_by_one(worker, jobs, part)
        }
    }
}

fn is_activated(worker: &Worker, leader: &JobId) -> bool {
    matches!(
        Intent::load(&worker.paths, leader),
        Ok(Some(Intent::Activated { .. }))
    )
}

/// Whether all jobs ask for the same.
fn is_alone(jobs: &[Job], part: Part) -> bool {
    let mut targets = jobs.iter().map(|job| &job.request.packages);
    let first = targets.next();
    part == Part::Own || targets.all(|target| Some(target) == first)
}

/// Has one transaction serve all jobs: whoever finds them after a crash has to find the intent of all of them,
/// and no other.
pub fn lead_all(worker: &Worker, jobs: &mut [Job], leader: &JobId) -> Result<()> {
    if lead(jobs, |_| leader.clone()) {
        Job::save_all(&worker.paths, jobs)?;
    }
    Ok(())
}

/// Names the transaction that serves each job; whether that is another one than before.
fn lead(jobs: &mut [Job], transaction: impl Fn(&Job) -> JobId) -> bool {
    let mut moved = false;
    for job in jobs {
        let transaction = transaction(job);
        moved |= job.transaction != transaction;
        job.transaction = transaction;
    }
    moved
}

/// Serves each target by a transaction of its own, so that one bad package fails alone.
fn one_by_one(worker: &Worker, mut jobs: Vec<Job>, part: Part) -> Vec<Job> {
    let mut ended = Vec::new();
    // those whose turn comes later must not be found under the intent of the one before
    if lead(&mut jobs, |job| job.id().clone())
        && let Err(error) = Job::save_all(&worker.paths, &jobs)
    {
        jobs.iter_mut().for_each(|job| fail(job, &error));
        return jobs;
    }
    while let Some(target) = jobs.first().map(|job| job.request.packages.clone()) {
        let (batch, others): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| job.request.packages == target);
        let update = again(worker, &batch);
        ended.extend(transact(worker, batch, update, part));
        jobs = others;
    }
    ended
}

/// Ends the jobs that somebody cancelled, and serves the others.
fn without_cancelled(worker: &Worker, jobs: Vec<Job>, update: &Update<'_>, part: Part) -> Vec<Job> {
    let (cancelled, others): (Vec<Job>, Vec<Job>) = jobs
        .into_iter()
        .partition(|job| Mark::Cancel.is_left(&worker.paths, job.id()));
    let (parts, mut cancelled): (Vec<Job>, Vec<Job>) =
        cancelled.into_iter().partition(parts::is_unjudged);
    cancelled.iter_mut().for_each(cancel);
    stamp(&mut cancelled, update);
    cancelled.extend(parts::end(worker, parts, settle::IN_PART));
    // whoever cancelled waits for this, and not for the others
    if let Err(error) = worker.record(&mut cancelled) {
        tracing::error!("{error:#}");
    }
    if !others.is_empty() {
        let update = again(worker, &others);
        cancelled.extend(transact(worker, others, update, part));
    }
    cancelled
}

/// The transaction, and once more with a new index and a new plan when a download failed.
fn attempts(
    worker: &Worker,
    leader: &JobId,
    jobs: &[Job],
    update: &mut Update<'_>,
    part: Part,
) -> Result<Ending> {
    match attempt(worker, leader, jobs, update, part)? {
        Ok(ending) => Ok(ending),
        Err(why) => {
            journal::retry(leader, &why);
            update.step(Event::FetchError)?;
            match refresh::run(worker) {
                Err(_) if worker.stopping() => {
                    update.cancel();
                    return Ok(Ending::of(Outcome::Cancelled, false));
                }
                other => other?,
            }
            attempt(worker, leader, jobs, update, part)?.or_else(|why| bail!("{why}"))
        }
    }
}

/// One attempt; the inner error is one that a new refresh may heal.
fn attempt(
    worker: &Worker,
    leader: &JobId,
    jobs: &[Job],
    update: &mut Update<'_>,
    part: Part,
) -> Result<Result<Ending, String>> {
    heal::before(worker, leader)?;
    let cache = Cache::load(&worker.paths);
    let failed = cache.failed_sources();
    let Plan {
        selection,
        kept_back,
        own_follows,
    } = plan::selection(worker, jobs, &failed, part)?;
    if selection == Selection::Exactly(Vec::new()) {
        return nothing(worker, leader, jobs, kept_back, update)
            .map(|outcome| Ok(Ending::of(outcome, false)));
    }
    space::check_floors()?;
    let done = parts::Done::of(jobs);
    let before = if done.changes.is_empty() {
        Before::look(worker, leader)?
    } else {
        Before::first_part(worker, leader, jobs, &done.changes)?
    };
    remove_durably(&job::intent(&worker.paths, leader))?;
    rollback::forget(&worker.paths, leader)?;
    plan::expect(worker, leader, &selection)?;
    if update.state.phase == Phase::Checking {
        update.step(Event::Download)?;
    }

    // until it is judged: services that end with the host would look as if the update had broken them
    let _inhibitor = logind::inhibit_shutdown(&format!("job {leader} updates packages"));
    let applied = run_transaction(worker, jobs, &selection, &failed, update)?;
    let applied = Applied {
        kept_back: [kept_back, applied.kept_back].concat(),
        ..applied
    };

    let _ = std::fs::remove_file(expectation(&worker.paths, leader));
    let intent = Intent::load(&worker.paths, leader)
        .map_err(|why| anyhow::anyhow!("the change list cannot be read: {why}"))?;
    match (intent, applied.ended.clone()) {
        (Some(Intent::Activated { changes, former }), _) => {
            update.activated(leader, &changes)?;
            heal::or_leave(worker)?;
            heal::after(worker, leader, &changes, &applied.ended)?;
            progress::verifying(worker, leader);
            let (changes, former) = done.with(changes, former);
            let intent = (&*changes, former);
            let outcome = conclude(worker, leader, &before, intent, applied, update)?;
            Ok(Ok(Ending::of(outcome, own_follows)))
        }
        (Some(Intent::Mixed), _) => attempt(worker, leader, jobs, update, Part::Listed),
        (Some(Intent::Stopped), _) | (None, Ended::Stopped) => {
            update.cancel();
            Ok(Ok(Ending::of(Outcome::Cancelled, false)))
        }
        (
            Some(Intent::Refused {
                reason,
                again: true,
            }),
            _,
        )
        | (None, Ended::FetchFailed(reason) | Ended::Interrupted(reason)) => Ok(Err(reason)),
        (
            Some(Intent::Refused {
                reason,
                again: false,
            }),
            _,
        ) => bail!("refused: {reason}"),
        (None, Ended::Failed(why)) => bail!("{why}"),
        (None, Ended::Done) => {
            let outcome = nothing(worker, leader, jobs, applied.kept_back, update)?;
            Ok(Ok(Ending::of(outcome, own_follows)))
        }
    }
}

/// There is nothing to install, which is a success unless a package that is asked for is broken. What jobs
/// that were put back have done before is all there is to judge then.
fn nothing(
    worker: &Worker,
    leader: &JobId,
    jobs: &[Job],
    kept_back: Vec<KeptBack>,
    update: &mut Update<'_>,
) -> Result<Outcome> {
    let done = parts::Done::of(jobs);
    if !done.changes.is_empty() {
        return parts::judge(worker, leader, done, (jobs, kept_back), None, update);
    }
    if let Some(why) = select::broken(jobs, &worker.packages.installed()?) {
        bail!("{why}, and no update of it is pending");
    }
    update.step(Event::NothingToDo)?;
    Ok(Outcome::Nothing { kept_back })
}

fn run_transaction(
    worker: &Worker,
    jobs: &[Job],
    selection: &Selection,
    failed: &[&Source],
    update: &mut Update<'_>,
) -> Result<Applied> {
    let leader = jobs.first().map(|job| &job.transaction).context("no job")?;
    let program = gate::program(&worker.paths)?;
    let arguments = gate(leader);
    let log = job::log(&worker.paths, leader);
    let transaction = Transaction {
        selection,
        failed,
        log: &log,
        gate: (&program, &arguments),
    };
    worker.packages.apply(
        &transaction,
        &mut Follower::new(worker, jobs, leader, update),
    )
}

/// The arguments by which the package manager asks for the gate of a transaction.
pub fn gate(leader: &JobId) -> [String; 3] {
    ["run".into(), "gate".into(), format!("--job={leader}")]
}

/// Cuts a log that grew beyond its limit; its beginning and its end say the most.
pub fn cap_log(worker: &Worker, leader: &JobId) {
    let path = job::log(&worker.paths, leader);
    if let Err(error) = crate::fs::cap_file(&path, LOG_LIMIT) {
        tracing::warn!("{error:#}");
    }
}
