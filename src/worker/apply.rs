//! Applying updates: one transaction for the jobs of a batch, judged by the package database.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::gate::{Expectation, Intent, expectation};
use super::lifecycle::Event;
use super::progress::{self, Follower};
use super::refresh::RefreshFailed;
use super::settle::{Outcome, fail, finish, not_begun};
use super::update::Update;
use super::verify::{self, Verdict};
use super::{Worker, heal, precondition, refresh, select};
use crate::fs::{remove_durably, write_atomically};
use crate::host::logind;
use crate::journal;
use crate::package::{Applied, Change, Database, Ended, KeptBack, Selection, Source, Transaction};
use crate::queue::{Mark, hold};
use crate::request::{JobId, Target};
use crate::state::cache::Cache;
use crate::state::job::{self, Job, JobStatus};
use crate::state::pending::PendingList;

/// The most bytes of a job's log that are kept.
const LOG_LIMIT: u64 = 1024 * 1024;

/// Serves the apply jobs of a batch; the jobs as they ended, and how the refresh before them went.
pub fn run(worker: &Worker, mut jobs: Vec<Job>) -> (Vec<Job>, Result<()>) {
    let mut update = Update::begin(worker, &target_of(&jobs));
    let refreshed = update
        .step(Event::Begin)
        .and_then(|()| refresh::run(worker));
    if let Err(error) = &refreshed {
        update.fail(&format!("{error:#}"));
        jobs.iter_mut().for_each(|job| give_up(worker, job, error));
        stamp(&mut jobs, &update);
        return (jobs, refreshed);
    }
    let (mut ended, jobs) = refuse_unknown(worker, jobs);
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
        ended.extend(transact(worker, batch, update));
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
    let mut update = Update::begin(worker, &target_of(jobs));
    if let Err(error) = update.step(Event::Begin) {
        tracing::error!("{error:#}");
    }
    update
}

/// Everything the jobs ask for, each name once.
fn target_of(jobs: &[Job]) -> String {
    let targets = jobs.iter().filter_map(|job| job.request.packages.as_ref());
    let names: BTreeSet<String> = targets.flat_map(Target::names).collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

fn is_offline(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<RefreshFailed>()
        .is_some_and(|failed| failed.offline)
}

/// Ends a job that cannot be done now: it waits for the network when it may, and that is the reason.
fn give_up(worker: &Worker, job: &mut Job, error: &anyhow::Error) {
    not_begun(worker, job, error);
    if job.request.options.wait_for_network && is_offline(error) {
        let why = format!("{error:#}");
        if let Err(error) = hold::defer(&worker.paths, job, &why) {
            fail(job, &error);
        }
    }
}

/// Fails the jobs that name a package which is not installed: nothing else may ever reach a package
/// manager, which would read more into a name than a name.
fn refuse_unknown(worker: &Worker, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let database = match worker.packages.installed() {
        Ok(database) => database,
        Err(error) => {
            let mut jobs = jobs;
            jobs.iter_mut().for_each(|job| fail(job, &error));
            return (jobs, Vec::new());
        }
    };
    let (mut refused, mut good) = (Vec::new(), Vec::new());
    for mut job in jobs {
        let target = job.request.packages.clone().unwrap_or(Target::All);
        match select::not_installed(&target, &database).as_slice() {
            [] => good.push(job),
            [name, ..] => {
                let error = anyhow::anyhow!(
                    "{name} is not installed; only installed packages are updated",
                );
                fail(&mut job, &error);
                refused.push(job);
            }
        }
    }
    (refused, good)
}

/// One transaction for all jobs; when it fails before it changed anything, one for each target.
fn transact(worker: &Worker, mut jobs: Vec<Job>, mut update: Update<'_>) -> Vec<Job> {
    let Some(leader) = jobs.first().map(|job| job.id().clone()) else {
        return jobs;
    };
    for job in &mut jobs {
        job.transaction = leader.clone();
    }
    // whoever finds the jobs after a crash has to find the intent of all of them
    if jobs.len() > 1
        && let Err(error) = Job::save_all(&worker.paths, &jobs)
    {
        jobs.iter_mut().for_each(|job| fail(job, &error));
        update.fail(&format!("{error:#}"));
        return jobs;
    }
    let outcome = attempts(worker, &leader, &jobs, &mut update);
    cap_log(worker, &leader);
    match outcome {
        Ok(Outcome::Cancelled) if !worker.stopping() => without_cancelled(worker, jobs, &update),
        Ok(outcome) => {
            finish(worker, &mut jobs, &outcome, &mut update);
            stamp(&mut jobs, &update);
            jobs
        }
        Err(error) => {
            update.fail(&format!("{error:#}"));
            let alone = jobs
                .iter()
                .all(|job| job.request.packages == jobs[0].request.packages);
            if alone || is_offline(&error) {
                jobs.iter_mut().for_each(|job| give_up(worker, job, &error));
                stamp(&mut jobs, &update);
                return jobs;
            }
            one_by_one(worker, jobs)
        }
    }
}

/// Serves each target by a transaction of its own, so that one bad package fails alone.
fn one_by_one(worker: &Worker, mut jobs: Vec<Job>) -> Vec<Job> {
    let mut ended = Vec::new();
    while let Some(target) = jobs.first().map(|job| job.request.packages.clone()) {
        let (batch, others): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| job.request.packages == target);
        let update = again(worker, &batch);
        ended.extend(transact(worker, batch, update));
        jobs = others;
    }
    ended
}

/// Ends the jobs that somebody cancelled, and serves the others.
fn without_cancelled(worker: &Worker, jobs: Vec<Job>, update: &Update<'_>) -> Vec<Job> {
    let (mut cancelled, others): (Vec<Job>, Vec<Job>) = jobs
        .into_iter()
        .partition(|job| Mark::Cancel.is_left(&worker.paths, job.id()));
    for job in &mut cancelled {
        job.status = JobStatus::Cancelled;
    }
    stamp(&mut cancelled, update);
    // whoever cancelled waits for this, and not for the others
    if let Err(error) = worker.record(&mut cancelled) {
        tracing::error!("{error:#}");
    }
    if !others.is_empty() {
        let update = again(worker, &others);
        cancelled.extend(transact(worker, others, update));
    }
    cancelled
}

/// The transaction, and once more with a new index and a new plan when a download failed.
fn attempts(
    worker: &Worker,
    leader: &JobId,
    jobs: &[Job],
    update: &mut Update<'_>,
) -> Result<Outcome> {
    match attempt(worker, leader, jobs, update)? {
        Ok(outcome) => Ok(outcome),
        Err(why) => {
            journal::retry(leader, &why);
            update.step(Event::FetchError)?;
            match refresh::run(worker) {
                Err(error) if worker.stopping() => {
                    update.fail(&format!("{error:#}"));
                    return Ok(Outcome::Cancelled);
                }
                other => other?,
            }
            attempt(worker, leader, jobs, update)?.or_else(|why| bail!("{why}"))
        }
    }
}

/// One attempt; the inner error is one that a new refresh may heal.
fn attempt(
    worker: &Worker,
    leader: &JobId,
    jobs: &[Job],
    update: &mut Update<'_>,
) -> Result<Result<Outcome, String>> {
    heal::before(worker, leader)?;
    let cache = Cache::load(&worker.paths);
    let failed = cache.failed_sources();
    let (selection, kept_back) = selection(worker, jobs, &failed)?;
    if selection == Selection::Exactly(Vec::new()) {
        return nothing(worker, jobs, kept_back, update).map(Ok);
    }
    let before = worker.packages.installed()?;
    remove_durably(&job::intent(&worker.paths, leader))?;
    expect(worker, leader, &selection)?;
    update.step(Event::Download)?;

    let applied = run_transaction(worker, jobs, &selection, &failed, update)?;
    let applied = Applied {
        kept_back: [kept_back, applied.kept_back].concat(),
        ..applied
    };

    let _ = std::fs::remove_file(expectation(&worker.paths, leader));
    let intent = Intent::load(&worker.paths, leader)
        .map_err(|why| anyhow::anyhow!("the change list cannot be read: {why}"))?;
    match (intent, applied.ended.clone()) {
        (Some(Intent::Activated { changes }), _) => {
            update.activated(leader, &changes)?;
            heal::after(worker, leader, &changes, &applied.ended)?;
            progress::verifying(worker, leader);
            let verdict = judge(worker, &before, &changes, update)?.with(&applied.failures);
            Ok(Ok(Outcome::Changed { verdict, applied }))
        }
        (Some(Intent::Stopped), _) | (None, Ended::Stopped) => {
            update.fail("stopped on request before anything was changed");
            Ok(Ok(Outcome::Cancelled))
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
        (None, Ended::Done) => nothing(worker, jobs, applied.kept_back, update).map(Ok),
    }
}

/// There is nothing to install, which is a success unless a package that is asked for is broken.
fn nothing(
    worker: &Worker,
    jobs: &[Job],
    kept_back: Vec<KeptBack>,
    update: &mut Update<'_>,
) -> Result<Outcome> {
    if let Some(why) = select::broken(jobs, &worker.packages.installed()?) {
        bail!("{why}, and no update of it is pending");
    }
    update.step(Event::NothingToDo)?;
    Ok(Outcome::Nothing { kept_back })
}

/// What to install: everything that is due, or exactly what the jobs name and that needs.
fn selection(
    worker: &Worker,
    jobs: &[Job],
    failed: &[&Source],
) -> Result<(Selection, Vec<KeptBack>)> {
    if jobs
        .iter()
        .any(|job| job.request.packages == Some(Target::All))
    {
        return Ok((Selection::Everything, Vec::new()));
    }
    let fingerprint = worker.packages.fingerprint(failed);
    let pending = match PendingList::load(&worker.paths) {
        Some(list) if list.is_for(&fingerprint) => list.pending,
        _ => refresh::pending(worker, failed)?,
    };
    let for_security = |job: &Job| job.request.packages == Some(Target::Security);
    if jobs.iter().any(for_security)
        && let Some(why) = worker.packages.no_security()?
    {
        bail!("it is not known which updates are for security: {why}");
    }
    let selected = select::selected(jobs, &pending);
    if selected.is_empty() {
        return Ok((Selection::Exactly(selected), pending.kept_back));
    }
    let plan = worker.packages.plan(&selected, failed)?;
    let kept_back = [pending.kept_back, plan.kept_back].concat();
    Ok((Selection::Exactly(plan.updates), kept_back))
}

/// Leaves for the gate what it may let through.
fn expect(worker: &Worker, leader: &JobId, selection: &Selection) -> Result<()> {
    let plan = match selection {
        Selection::Everything => None,
        Selection::Exactly(updates) => Some(updates.iter().map(Change::from).collect()),
    };
    let expected = Expectation {
        since: Some(SystemTime::now()),
        plan,
    };
    let bytes = serde_json::to_vec(&expected)?;
    write_atomically(&expectation(&worker.paths, leader), &bytes, 0o600)
}

fn run_transaction(
    worker: &Worker,
    jobs: &[Job],
    selection: &Selection,
    failed: &[&Source],
    update: &mut Update<'_>,
) -> Result<Applied> {
    let leader = jobs.first().map(|job| &job.transaction).context("no job")?;
    let _inhibitor = logind::inhibit_shutdown(&format!("job {leader} updates packages"));
    // this very program, also when our own package was upgraded while it waited: by its path it would be
    // another one, or none
    let program = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
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

fn judge(
    worker: &Worker,
    before: &Database,
    changes: &[Change],
    update: &mut Update<'_>,
) -> Result<Verdict> {
    update.step(Event::Verify)?;
    let after = worker.packages.installed()?;
    Ok(verify::verdict(before, &after, changes))
}

/// Keeps the state of the update with each job it served.
pub fn stamp(jobs: &mut [Job], update: &Update<'_>) {
    for job in jobs {
        job.update = update.state.clone();
    }
}

/// Cuts a log that grew beyond its limit; its beginning and its end say the most.
pub fn cap_log(worker: &Worker, leader: &JobId) {
    let path = job::log(&worker.paths, leader);
    if let Err(error) = crate::fs::cap_file(&path, LOG_LIMIT) {
        tracing::warn!("{error:#}");
    }
}
