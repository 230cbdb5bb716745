//! Applying updates: one transaction for the jobs of a batch, judged by the package database.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::gate::{self, Expectation, Intent};
use super::lifecycle::{self, Event};
use super::progress::Publisher;
use super::verify::{self, Verdict};
use super::{Worker, refresh, select};
use crate::fs::{remove_durably, write_atomically};
use crate::host::{clock, logind};
use crate::package::{
    Applied, Change, Database, Ended, KeptBack, Observer, Pending, Report, Selection, Transaction,
};
use crate::request::{JobId, Target};
use crate::state::cache::Cache;
use crate::state::job::{self, Job, JobStatus};
use crate::state::pending::PendingList;
use crate::state::update::{Phase, UpdateState};
use crate::{journal, package};

/// The most bytes of a job's log that are kept.
const LOG_LIMIT: u64 = 1024 * 1024;

/// How one transaction ended.
enum Outcome {
    /// There was nothing to install.
    Nothing { kept_back: Vec<KeptBack> },
    /// Packages were changed; the verdict says how well.
    Changed { verdict: Verdict, applied: Applied },
    /// It was stopped before anything changed.
    Cancelled,
}

/// Serves the apply jobs of a batch; the ended jobs, and how the refresh before them went.
pub fn run(worker: &Worker, mut jobs: Vec<Job>) -> (Vec<Job>, Result<()>) {
    let target = jobs.iter().filter_map(|job| job.request.packages.as_ref());
    let target = target
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let mut update = Update::begin(worker, &target);
    let refreshed = update
        .step(Event::Begin)
        .and_then(|()| refresh::run(worker));
    if let Err(error) = &refreshed {
        update.fail(&format!("{error:#}"));
        jobs.iter_mut().for_each(|job| fail(job, error));
        stamp(&mut jobs, &update);
        return (jobs, refreshed);
    }
    let (mut ended, waiting) = refuse_unknown(worker, jobs);
    if waiting.is_empty() {
        let unknown = ended
            .first()
            .and_then(|job| job.error.clone())
            .unwrap_or_default();
        update.fail(&unknown);
        stamp(&mut ended, &update);
    } else {
        ended.extend(transact(worker, waiting, update));
    }
    (ended, refreshed)
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

/// One transaction for all jobs; when it fails before it changed anything, one for each.
fn transact(worker: &Worker, mut jobs: Vec<Job>, mut update: Update<'_>) -> Vec<Job> {
    let Some(leader) = jobs.first().map(|job| job.id().clone()) else {
        return jobs;
    };
    for job in &mut jobs {
        job.transaction = leader.clone();
    }
    let outcome = attempts(worker, &leader, &jobs, &mut update);
    cap_log(worker, &leader);
    match outcome {
        Ok(outcome) => {
            finish(worker, &mut jobs, outcome, &mut update);
            stamp(&mut jobs, &update);
            jobs
        }
        Err(error) if jobs.len() == 1 => {
            update.fail(&format!("{error:#}"));
            jobs.iter_mut().for_each(|job| fail(job, &error));
            stamp(&mut jobs, &update);
            jobs
        }
        Err(error) => {
            update.fail(&format!("{error:#}"));
            jobs.into_iter()
                .flat_map(|job| {
                    let target = job.request.packages.as_ref().map(ToString::to_string);
                    let mut update = Update::begin(worker, &target.unwrap_or_default());
                    // the refresh of a moment ago stands for this one, too
                    let _ = update.step(Event::Begin);
                    transact(worker, vec![job], update)
                })
                .collect()
        }
    }
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
            refresh::run(worker)?;
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
    let cache = Cache::load(&worker.paths);
    let failed = cache.failed_sources();
    let (selection, kept_back) = selection(worker, jobs, &failed)?;
    if selection == Selection::Exactly(Vec::new()) {
        update.step(Event::NothingToDo)?;
        return Ok(Ok(Outcome::Nothing { kept_back }));
    }
    let before = worker.packages.installed()?;
    remove_durably(&job::intent(&worker.paths, leader))?;
    expect(worker, leader, &selection)?;
    update.step(Event::Download)?;

    let applied = run_transaction(worker, leader, &selection, &failed, update)?;
    let applied = Applied {
        kept_back: [kept_back, applied.kept_back].concat(),
        ..applied
    };

    let _ = std::fs::remove_file(gate::expectation(&worker.paths, leader));
    let intent = Intent::load(&worker.paths, leader)
        .map_err(|why| anyhow::anyhow!("the change list cannot be read: {why}"))?;
    match (intent, applied.ended.clone()) {
        (Some(Intent::Activated { changes }), _) => {
            update.activated(leader, &changes)?;
            let verdict = judge(worker, &before, &changes, update)?;
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
        | (None, Ended::FetchFailed(reason)) => Ok(Err(reason)),
        (
            Some(Intent::Refused {
                reason,
                again: false,
            }),
            _,
        ) => bail!("refused: {reason}"),
        (None, Ended::Failed(why)) => bail!("{why}"),
        (None, Ended::Done) => {
            update.step(Event::NothingToDo)?;
            Ok(Ok(Outcome::Nothing {
                kept_back: applied.kept_back,
            }))
        }
    }
}

/// What to install: everything that is due, or exactly what the jobs name and that needs.
fn selection(
    worker: &Worker,
    jobs: &[Job],
    failed: &[&package::Source],
) -> Result<(Selection, Vec<KeptBack>)> {
    if jobs
        .iter()
        .any(|job| job.request.packages == Some(Target::All))
    {
        return Ok((Selection::Everything, Vec::new()));
    }
    let fingerprint = worker.packages.fingerprint();
    let pending = match PendingList::load(&worker.paths) {
        Some(list) if list.is_for(&fingerprint) && failed.is_empty() => list.pending,
        _ => worker.packages.pending(failed)?,
    };
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
    let expectation = Expectation {
        since: Some(SystemTime::now()),
        plan,
    };
    let bytes = serde_json::to_vec(&expectation)?;
    write_atomically(&gate::expectation(&worker.paths, leader), &bytes, 0o600)
}

fn run_transaction(
    worker: &Worker,
    leader: &JobId,
    selection: &Selection,
    failed: &[&package::Source],
    update: &mut Update<'_>,
) -> Result<Applied> {
    let _inhibitor = logind::inhibit_shutdown(&format!("job {leader} updates packages"));
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    let arguments = [
        "run".to_owned(),
        "gate".to_owned(),
        format!("--job={leader}"),
    ];
    let log = job::log(&worker.paths, leader);
    let transaction = Transaction {
        selection,
        failed,
        log: &log,
        gate: (&program, &arguments),
    };
    let mut watch = Watch {
        worker,
        leader,
        update,
        publisher: Publisher::new(worker, leader),
    };
    worker.packages.apply(&transaction, &mut watch)
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

/// Gives each job its own result.
fn finish(worker: &Worker, jobs: &mut [Job], outcome: Outcome, update: &mut Update<'_>) {
    let targets: Vec<Target> = jobs
        .iter()
        .filter_map(|job| job.request.packages.clone())
        .collect();
    for job in jobs.iter_mut() {
        let target = job.request.packages.clone().unwrap_or(Target::All);
        match &outcome {
            Outcome::Cancelled => job.status = JobStatus::Cancelled,
            Outcome::Nothing { kept_back } => {
                job.status = JobStatus::Succeeded;
                job.kept_back = select::kept_back(&target, kept_back);
            }
            Outcome::Changed { verdict, applied } => {
                job.changes = select::changes_of(&target, &targets, &verdict.changes);
                job.kept_back = select::kept_back(&target, &applied.kept_back);
                job.notes = [applied.notes.clone(), verdict.strangers.clone()].concat();
                match failure(&target, verdict, &applied.ended) {
                    None => job.status = JobStatus::Succeeded,
                    Some(why) => fail(job, &anyhow::anyhow!("{why}")),
                }
            }
        }
    }
    if let Outcome::Changed { verdict, applied } = &outcome {
        let id = jobs.first().map(|job| job.transaction.clone());
        for change in &verdict.changes {
            let (from, to) = (change.from.as_deref(), change.to.as_deref());
            if let Some(id) = &id {
                journal::package_changed(id, &change.package, &change.architecture, from, to);
            }
        }
        for (stranger, id) in verdict.strangers.iter().zip(id.iter().cycle()) {
            journal::database_problem(id, stranger);
        }
        match failure(&Target::All, verdict, &applied.ended) {
            None => {
                let _ = update.step(Event::Succeed);
            }
            Some(why) => update.fail(&why),
        }
    }
    carry_on_list(worker, jobs, &outcome);
}

/// Keeps the state of the update with each job it served.
fn stamp(jobs: &mut [Job], update: &Update<'_>) {
    for job in jobs {
        job.update = update.state.clone();
    }
}

/// Why the transaction is a failure for a job with this target.
fn failure(target: &Target, verdict: &Verdict, ended: &Ended) -> Option<String> {
    let mine = verdict.wrong.iter().filter(|(key, _)| {
        matches!(target, Target::All | Target::Security)
            || select::covers(target, &key.package, &key.architecture, false)
    });
    let mut why: Vec<String> = mine.map(|(_, why)| why.clone()).collect();
    why.extend(verdict.unplanned.iter().cloned());
    if why.is_empty() {
        return None;
    }
    if let Ended::Failed(words) | Ended::FetchFailed(words) = ended {
        why.push(words.clone());
    }
    Some(why.join("; "))
}

/// Keeps the list of pending updates true without another run of the package manager: an update of
/// everything leaves what it kept back, any other one takes its changes out.
fn carry_on_list(worker: &Worker, jobs: &[Job], outcome: &Outcome) {
    let everything = jobs
        .iter()
        .any(|job| job.request.packages == Some(Target::All))
        && jobs.iter().all(|job| job.status == JobStatus::Succeeded);
    let list = match outcome {
        Outcome::Cancelled => return,
        Outcome::Nothing { kept_back }
        | Outcome::Changed {
            applied: Applied { kept_back, .. },
            ..
        } if everything => PendingList {
            computed_at: Some(clock::now()),
            fingerprint: Some(worker.packages.fingerprint()),
            pending: Pending {
                updates: Vec::new(),
                kept_back: kept_back.clone(),
            },
        },
        Outcome::Nothing { .. } => return,
        Outcome::Changed { verdict, .. } => {
            let Some(mut list) = PendingList::load(&worker.paths) else {
                return;
            };
            list.fingerprint = None;
            list.pending.updates.retain(|update| {
                !verdict.changes.iter().any(|change| {
                    change.package == update.package
                        && change.to.as_ref() == Some(&update.candidate)
                })
            });
            list
        }
    };
    if let Err(error) = list.save(&worker.paths) {
        tracing::warn!("{error:#}");
    }
}

fn fail(job: &mut Job, error: &anyhow::Error) {
    job.status = JobStatus::Failed;
    job.error = Some(journal::plain(&format!("{error:#}")));
}

/// Cuts a log that grew beyond its limit; its beginning and its end say the most.
fn cap_log(worker: &Worker, leader: &JobId) {
    let path = job::log(&worker.paths, leader);
    if let Err(error) = crate::fs::cap_file(&path, LOG_LIMIT) {
        tracing::warn!("{error:#}");
    }
}

/// The latest update of the host, written down at every step.
struct Update<'a> {
    worker: &'a Worker,
    state: UpdateState,
}

impl<'a> Update<'a> {
    fn begin(worker: &'a Worker, target: &str) -> Self {
        let state = UpdateState::load(&worker.paths).begin(target, clock::now());
        Self { worker, state }
    }

    fn step(&mut self, event: Event) -> Result<()> {
        self.state.phase = lifecycle::next(self.state.phase, event)?;
        self.state.updated_at = Some(clock::now());
        self.state.save(&self.worker.paths)
    }

    /// Ends the update as failed, whatever else goes wrong.
    fn fail(&mut self, why: &str) {
        self.state.last_error = Some(journal::plain(why));
        if let Err(error) = self.step(Event::Fail) {
            tracing::error!("{error:#}");
        }
    }

    /// The package manager was let through: catches up with what the gate has done.
    fn activated(&mut self, leader: &JobId, changes: &[Change]) -> Result<()> {
        if self.state.phase == Phase::Activated {
            return Ok(());
        }
        self.state.set_versions(changes);
        self.step(Event::Stage)?;
        self.step(Event::Activate)?;
        journal::activation(leader, changes.len());
        Ok(())
    }
}

/// Follows a running transaction.
struct Watch<'a, 'b> {
    worker: &'a Worker,
    leader: &'a JobId,
    update: &'a mut Update<'b>,
    publisher: Publisher<'a>,
}

impl Observer for Watch<'_, '_> {
    fn report(&mut self, report: Report) {
        match report {
            Report::Output(_) => {}
            Report::Waiting(what) => {
                journal::waiting(&what);
                self.publisher.publish(0, &format!("waiting: {what}"));
            }
            Report::Downloading { percent } => {
                self.publisher.publish(percent / 2, "downloading");
            }
            Report::Installing { percent, action } => {
                self.catch_up();
                self.publisher.publish(50 + percent / 2, &action);
            }
        }
    }

    /// A stop is followed only when the worker gets to the intent file before the gate does.
    fn stop(&mut self) -> bool {
        self.worker.stop.load(Ordering::Relaxed)
            && Intent::Stopped.create(&self.intent_file()).unwrap_or(false)
    }
}

impl Watch<'_, '_> {
    fn intent_file(&self) -> PathBuf {
        job::intent(&self.worker.paths, self.leader)
    }

    fn catch_up(&mut self) {
        if self.update.state.phase == Phase::Activated {
            return;
        }
        if let Ok(Some(Intent::Activated { changes })) =
            Intent::load(&self.worker.paths, self.leader)
            && let Err(error) = self.update.activated(self.leader, &changes)
        {
            tracing::error!("{error:#}");
        }
    }
}
