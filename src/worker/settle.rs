//! What a transaction means for each job it served, and for the list of pending updates.

use std::collections::BTreeSet;

use super::lifecycle::Event;
use super::update::Update;
use super::verify::Verdict;
use super::{Worker, select};
use crate::host::clock;
use crate::journal;
use crate::package::{Applied, Ended, KeptBack, Pending};
use crate::request::Target;
use crate::state::cache::Cache;
use crate::state::job::{Job, JobStatus};
use crate::state::pending::PendingList;

/// How one transaction ended.
pub enum Outcome {
    /// There was nothing to install.
    Nothing { kept_back: Vec<KeptBack> },
    /// Packages were changed; the verdict says how well.
    Changed { verdict: Verdict, applied: Applied },
    /// It was stopped before anything changed.
    Cancelled,
}

/// Gives each job its own result; when our own package follows, that of the part before.
pub fn finish(
    worker: &Worker,
    jobs: &mut [Job],
    outcome: &Outcome,
    update: &mut Update<'_>,
    own_follows: bool,
) {
    let targets: Vec<Target> = jobs
        .iter()
        .filter_map(|job| job.request.packages.clone())
        .collect();
    let unasked = match outcome {
        Outcome::Changed { verdict, .. } => select::unasked(&targets, &verdict.changes),
        _ => BTreeSet::new(),
    };
    for job in jobs.iter_mut() {
        let target = job.request.packages.clone().unwrap_or(Target::All);
        match outcome {
            Outcome::Cancelled => cancel(job),
            Outcome::Nothing { kept_back } => {
                job.status = JobStatus::Succeeded;
                add(&mut job.kept_back, &select::kept_back(&target, kept_back));
            }
            Outcome::Changed { verdict, applied } => {
                let changes = select::changes_of(&target, &unasked, &verdict.changes);
                let kept_back = select::kept_back(&target, &applied.kept_back);
                add(&mut job.changes, &changes);
                add(&mut job.kept_back, &kept_back);
                add(&mut job.notes, &applied.notes);
                add(&mut job.notes, &verdict.strangers);
                match failure(&target, verdict, &applied.ended) {
                    None => job.status = JobStatus::Succeeded,
                    Some(why) => fail(job, &anyhow::anyhow!("{why}")),
                }
            }
        }
    }
    if let Outcome::Changed { verdict, applied } = outcome {
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
    carry_on_list(worker, jobs, outcome, own_follows);
}

/// Adds to a record what a part of the job that was done before has not left there already.
fn add<T: Clone + PartialEq>(record: &mut Vec<T>, new: &[T]) {
    for item in new {
        if !record.contains(item) {
            record.push(item.clone());
        }
    }
}

/// Ends a job that was stopped: cancelled, unless a part of it is done.
pub fn cancel(job: &mut Job) {
    if job.earlier.is_empty() {
        job.status = JobStatus::Cancelled;
    } else {
        let why = "stopped before our own package was updated; everything else is done";
        fail(job, &anyhow::anyhow!(why));
    }
}

/// Ends a job with an error.
pub fn fail(job: &mut Job, error: &anyhow::Error) {
    job.status = JobStatus::Failed;
    job.error = Some(journal::plain(&format!("{error:#}")));
}

/// Ends a job whose refresh did not come to its end: cancelled if that was asked for.
pub fn not_begun(worker: &Worker, job: &mut Job, error: &anyhow::Error) {
    if worker.stopping() {
        cancel(job);
    } else {
        fail(job, error);
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
    if let Ended::Failed(words) | Ended::FetchFailed(words) | Ended::Interrupted(words) = ended {
        why.push(words.clone());
    }
    Some(why.join("; "))
}

/// Keeps the list of pending updates true without another run of the package manager: an update of
/// everything leaves what it kept back, any other one takes its changes out.
fn carry_on_list(worker: &Worker, jobs: &[Job], outcome: &Outcome, own_follows: bool) {
    let everything = !own_follows
        && jobs
            .iter()
            .any(|job| job.request.packages == Some(Target::All))
        && jobs.iter().all(|job| job.status == JobStatus::Succeeded);
    let cache = Cache::load(&worker.paths);
    let list = match outcome {
        Outcome::Nothing { kept_back }
        | Outcome::Changed {
            applied: Applied { kept_back, .. },
            ..
        } if everything => PendingList {
            computed_at: Some(clock::now()),
            fingerprint: Some(worker.packages.fingerprint(&cache.failed_sources())),
            pending: Pending {
                updates: Vec::new(),
                kept_back: kept_back.clone(),
            },
        },
        Outcome::Cancelled | Outcome::Nothing { .. } => return,
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
