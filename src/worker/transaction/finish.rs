//! What a transaction means for each job it served, and for the list of pending updates.

use std::collections::BTreeSet;

use crate::host::clock;
use crate::journal;
use crate::package::{
    Change, KeptBack, KeptBackCause, PackageId, Pending, TransactionEnd, TransactionReport,
};
use crate::request::{JobId, Target};
use crate::state::blocked::Blocked;
use crate::state::cache::Cache;
use crate::state::job::{Job, JobStatus};
use crate::state::pending::PendingList;
use crate::state::verification::{Check, CheckKind, Rollback};
use crate::worker::bookkeeping::blocked::{self, By};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::job_result::{
    ROLLED_BACK, cancel, cap_log, fail, log_change, stamp, succeed, unreached,
};
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::model::partial::{self, add};
use crate::worker::model::selection;
use crate::worker::steps::verify::{self, Verification};
use crate::worker::steps::{refresh, rollback};
use crate::worker::transaction::outcome::{Concluded, TransactionOutcome};

/// What ends the jobs of a transaction.
pub enum JobsEnd<'a> {
    /// The transaction: each job gets its own result. If our own package follows, it is that of the part before.
    TransactionOutcome {
        outcome: &'a TransactionOutcome,
        self_package_follows: bool,
    },
    /// An error, which is that of every job; `why` is that of the update.
    Failure {
        why: &'a str,
        error: &'a anyhow::Error,
    },
}

/// Ends the jobs of a transaction: each gets its result and the state of the update, and their log is cut to its
/// limit. The caller records them.
pub fn finish_jobs(
    ctx: &Context,
    jobs: &mut [Job],
    end: &JobsEnd<'_>,
    update: &mut CurrentUpdate<'_>,
) {
    match end {
        JobsEnd::TransactionOutcome {
            outcome,
            self_package_follows,
        } => give_results(ctx, jobs, outcome, update, *self_package_follows),
        JobsEnd::Failure { why, error } => {
            update.fail(why);
            jobs.iter_mut().for_each(|job| fail(job, error));
        }
    }
    stamp(jobs, update);
    if let Some(job) = jobs.first() {
        cap_log(ctx, &job.transaction);
    }
}

/// Gives each job its own result, and the update that of the transaction.
fn give_results(
    ctx: &Context,
    jobs: &mut [Job],
    outcome: &TransactionOutcome,
    update: &mut CurrentUpdate<'_>,
    self_package_follows: bool,
) {
    let targets: Vec<Target> = jobs
        .iter()
        .filter_map(|job| job.request.packages.clone())
        .collect();
    let dependencies = match outcome {
        TransactionOutcome::Changed(concluded) => {
            selection::dependencies(&targets, &concluded.judgement.verdict.changes)
        }
        _ => BTreeSet::new(),
    };
    let logged = partial::AppliedSoFar::of(jobs).changes;
    for job in jobs.iter_mut() {
        let target = job.request.packages.clone().unwrap_or(Target::All);
        match outcome {
            TransactionOutcome::Cancelled => cancel(job),
            TransactionOutcome::Nothing { kept_back } => {
                add(
                    &mut job.kept_back,
                    &selection::kept_back(&target, kept_back),
                );
                match unreached(&target, kept_back) {
                    None => succeed(job),
                    Some(why) => fail(job, &anyhow::anyhow!(why)),
                }
            }
            TransactionOutcome::Changed(concluded) => {
                finish_changed(job, &target, &dependencies, concluded);
            }
        }
    }
    if let TransactionOutcome::Changed(concluded) = outcome {
        if let Some(id) = jobs.first().map(|job| job.transaction.clone()) {
            log_changes(&id, concluded, &logged);
        }
        match failure(&Target::All, concluded) {
            None => update.succeed(),
            Some(why) if concluded.is_undone() => update.rolled_back(&why),
            Some(why) => update.fail(&why),
        }
    }
    if let TransactionOutcome::Changed(concluded) = outcome
        && concluded.is_undone()
        && targets.iter().all(|target| Some(target) == targets.first())
        && let Some(job) = jobs.first()
    {
        let mut changes: Vec<Change> = concluded.former.iter().map(|f| f.change.clone()).collect();
        changes.retain(|change| !concluded.has_left(change));
        let reason = concluded.judgement.reason();
        blocked::set(ctx, &job.transaction, changes, By::Verification, &reason);
    }
    carry_on_list(ctx, jobs, outcome, self_package_follows);
}

fn finish_changed(
    job: &mut Job,
    target: &Target,
    dependencies: &BTreeSet<PackageId>,
    concluded: &Concluded,
) {
    let Concluded {
        judgement,
        applied,
        former,
        rollback,
        unfinished: _,
        removed,
    } = concluded;
    // what was done before it was put back is among the changes, as far as it has stayed
    partial::nothing_is_done(job);
    let mut changes = selection::changes_of(target, dependencies, &judgement.verdict.changes);
    changes.retain(|change| concluded.has_left(change));
    add(&mut job.changes, &changes);
    add(&mut job.changes, removed);
    let kept_back = selection::kept_back(target, &applied.kept_back);
    add(&mut job.kept_back, &kept_back);
    let warnings = judgement.checks.iter().filter(|c| !c.required && !c.passed);
    let warnings: Vec<String> = warnings.map(|check| check.message.clone()).collect();
    let unrelated = judgement.verdict.unrelated_sentences();
    for notes in [&applied.notes, &unrelated, &warnings] {
        add(&mut job.notes, notes);
    }
    add(&mut job.former, former);
    add(&mut job.cannot_go_back, &rollback::cannot_go_back(former));
    add(&mut job.verification, &judgement.checks);
    job.rollback.clone_from(rollback);
    match failure(target, concluded).or_else(|| unreached(target, &kept_back)) {
        None => succeed(job),
        Some(why) => fail(job, &anyhow::anyhow!("{why}")),
    }
}

/// Says in the journal what was changed, and what has stayed so; not what was logged before.
fn log_changes(id: &JobId, concluded: &Concluded, logged: &[Change]) {
    let verdict = &concluded.judgement.verdict;
    for change in &verdict.changes {
        if !concluded.has_left(change) {
            log_change(id, &change.undone());
        } else if !logged.contains(change) {
            log_change(id, change);
        }
    }
    for (_, unrelated) in &verdict.unrelated_breakage {
        journal::database_problem(id, unrelated);
    }
}

/// Why the transaction is a failure for a job with this target. One that was undone is a failure for
/// every job it served.
fn failure(target: &Target, concluded: &Concluded) -> Option<String> {
    let Verification {
        verdict, checks, ..
    } = &concluded.judgement;
    let undone = concluded.is_undone();
    let everything = undone || matches!(target, Target::All | Target::Security);
    let against = checks.iter().filter(|check| check.decides_against());
    // the check of the versions is about all packages of the transaction
    let others = against.filter(|check| everything || check.name != verify::VERSIONS);
    let mut why: Vec<String> = others.map(|check| check.message.clone()).collect();
    if !everything {
        let covers = |key: &PackageId| target.covers(&key.package, &key.architecture, false);
        let by_former = |key: &PackageId| {
            let mut former = concluded.former.iter().map(|former| &former.change);
            former.any(|change| change.key() == *key && covers(&change.former_key()))
        };
        let is_mine = |(key, _): &&(PackageId, String)| covers(key) || by_former(key);
        let mine = verdict.wrong.iter().filter(is_mine);
        why.splice(0..0, mine.map(|(_, why)| why.clone()));
    }
    if why.is_empty() {
        return concluded.unfinished.clone();
    }
    let ended = &concluded.applied.ended;
    if let TransactionEnd::Failed(words)
    | TransactionEnd::FetchFailed(words)
    | TransactionEnd::Interrupted(words) = ended
    {
        why.push(words.clone());
    }
    why.extend(concluded.unfinished.clone());
    let why = why.join("; ");
    let error = concluded.rollback.as_ref().and_then(|r| r.error.as_deref());
    // that the new version of this program does not answer is all there is to say
    let agent = |check: &&Check| check.kind == CheckKind::Agent && !check.passed;
    let rollback = concluded.rollback.as_ref();
    let differs = rollback.filter(|rollback| undone && error.is_none() && !rollback.as_before);
    let why = match differs {
        Some(rollback) => format!("{why}; {}", rollback.summary),
        None => why,
    };
    Some(match (undone, error) {
        (true, None) if checks.iter().any(|check| agent(&check)) => why,
        (true, None) => format!("{ROLLED_BACK}{why}"),
        (true, Some(error)) => {
            let stayed = rollback.and_then(Rollback::what_stayed);
            let stayed = stayed.map_or(String::new(), |stayed| format!("; {stayed}"));
            format!("{ROLLED_BACK}{why}{stayed}; and since then: {error}")
        }
        (false, Some(error)) => format!("{why}; it was not rolled back: {error}"),
        (false, None) => why,
    })
}

/// Keeps the list of pending updates true without another run of the package manager: an update of
/// everything leaves what it kept back, any other one takes its changes out.
fn carry_on_list(
    ctx: &Context,
    jobs: &[Job],
    outcome: &TransactionOutcome,
    self_package_follows: bool,
) {
    let everything = !self_package_follows
        && jobs
            .iter()
            .any(|job| job.request.packages == Some(Target::All))
        && jobs.iter().all(|job| job.status == JobStatus::Succeeded);
    let cache = Cache::load(&ctx.paths);
    let list = match outcome {
        TransactionOutcome::Nothing { kept_back } if everything => {
            all_done(ctx, &cache, kept_back.clone())
        }
        // what has no room is pending, and may have some at the next attempt
        TransactionOutcome::Changed(concluded) if everything && !lacks_room(&concluded.applied) => {
            all_done(ctx, &cache, concluded.applied.kept_back.clone())
        }
        TransactionOutcome::Cancelled | TransactionOutcome::Nothing { .. } => return,
        TransactionOutcome::Changed(concluded) => {
            let Some(mut list) = PendingList::load(&ctx.paths) else {
                return;
            };
            list.fingerprint = None;
            list.pending = Blocked::load_to_change(&ctx.paths).offered(list.pending);
            list.pending.updates.retain(|update| {
                let mut changes = concluded.judgement.verdict.changes.iter();
                !changes.any(|change| {
                    concluded.has_left(change)
                        && change.package == update.package
                        && change.to.as_ref() == Some(&update.candidate)
                })
            });
            list
        }
    };
    let saved = list.save(&ctx.paths).and_then(|list| {
        let known = list.fingerprint.as_ref();
        known.map_or(Ok(()), |_| refresh::listed(ctx))
    });
    if let Err(error) = saved {
        tracing::warn!("{error:#}");
    }
}

fn lacks_room(applied: &TransactionReport) -> bool {
    let mut kept = applied.kept_back.iter();
    kept.any(|kept| kept.cause == Some(KeptBackCause::Space))
}

/// The list after everything that was due is in.
fn all_done(ctx: &Context, cache: &Cache, kept_back: Vec<KeptBack>) -> PendingList {
    PendingList {
        computed_at: Some(clock::now()),
        fingerprint: Some(ctx.packages.fingerprint(&cache.failed_sources())),
        pending: Pending {
            updates: Vec::new(),
            kept_back,
        },
        ..PendingList::default()
    }
}
