//! With what result a job ends, in its record.

use crate::journal;
use crate::package::{Change, KeptBack, KeptBackCause, RollbackItem};
use crate::queue::Decision;
use crate::request::{JobId, Target};
use crate::state::job::{self, Job, JobStatus};
use crate::state::life::JobEvent;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::model::{partial, selection};

/// How the error of a job begins whose transaction was rolled back: the record has no other place for that.
pub const ROLLED_BACK: &str = "rolled back: ";

/// Why a job failed that was stopped when it came back to do the rest of its work.
pub const IN_PART: &str = "stopped after a part of its changes";

/// Ends a job that was stopped: cancelled, unless a part of it is done.
pub fn cancel(job: &mut Job) {
    let why = match (job.is_done_in_part(), job.progress().is_self_update()) {
        (false, _) => return take(job, JobEvent::Cancel),
        (true, false) => IN_PART,
        (true, true) => {
            "stopped before linux-patch-api itself was updated; everything else is done"
        }
    };
    fail(job, &anyhow::anyhow!(why));
}

/// Why a job is a failure that has named packages of which one is kept back, although all else that it named
/// is done.
pub fn unreached(target: &Target, kept_back: &[KeptBack]) -> Option<String> {
    if !matches!(target, Target::Packages(_)) {
        return None;
    }
    let mut named = selection::kept_back(target, kept_back).into_iter();
    let kept = named.find(|kept| kept.cause.is_some_and(KeptBackCause::fails_by_name))?;
    Some(format!("{}: {}", kept.package, kept.reason))
}

/// Whether the job has ended with all that it asked for: pure.
pub fn is_reached(job: &Job) -> bool {
    let is_named = matches!(job.request.packages, Some(Target::Packages(_)));
    let is_missed =
        |kept: &KeptBack| is_named || kept.cause.is_none_or(KeptBackCause::is_in_the_way);
    job.status == JobStatus::Succeeded && !job.kept_back.iter().any(is_missed)
}

/// Says in the journal what was changed of one package.
pub fn log_change(id: &JobId, change: &Change) {
    let builds = change.rebuilt.as_ref();
    journal::package_changed(
        id,
        &journal::PackageChange {
            package: &change.package,
            architecture: &change.architecture,
            former_architecture: change.former_architecture.as_deref(),
            from: change.from.as_deref(),
            to: change.to.as_deref(),
            builds: builds.map(|builds| [builds.from.as_deref(), builds.to.as_deref()]),
        },
    );
}

/// Keeps the state of the update with each job it served.
pub fn stamp(jobs: &mut [Job], update: &CurrentUpdate<'_>) {
    for job in jobs {
        job.update = update.state.clone();
    }
}

/// Ends a job as successful.
pub fn succeed(job: &mut Job) {
    take(job, JobEvent::Succeed);
}

/// Takes an event into the record of a job. One that cannot happen is a fault of this program, and only logged.
pub fn take(job: &mut Job, event: JobEvent) {
    if let Err(error) = job.take(event) {
        tracing::error!("job {}: {error}", job.id());
    }
}

/// Ends a job with an error.
pub fn fail(job: &mut Job, error: &anyhow::Error) {
    take(job, JobEvent::Fail);
    job.error = Some(journal::plain(&format!("{error:#}")));
}

/// Whether the worker is to stop, or the job to be cancelled.
pub fn is_stopped(ctx: &Context, job: &Job) -> bool {
    ctx.stopping() || Decision::Cancel.is_left(&ctx.paths, job.id())
}

/// Ends a job whose refresh did not come to its end: cancelled if that was asked for.
pub fn not_begun(ctx: &Context, job: &mut Job, error: &anyhow::Error) {
    if is_stopped(ctx, job) {
        cancel(job);
    } else {
        fail(job, error);
    }
}

/// What is noted with a job that was judged by another worker than the one that ran it.
pub const NOTE: &str = "the worker was interrupted while it changed packages";

/// Enters into each record what of it is done, and says so.
pub fn record_applied(
    transaction: &JobId,
    jobs: &mut [Job],
    done: &[Change],
    former: &[RollbackItem],
) {
    let target = |job: &Job| job.request.packages.clone().unwrap_or(Target::All);
    let targets: Vec<Target> = jobs.iter().map(target).collect();
    let dependencies = selection::dependencies(&targets, done);
    for (job, target) in jobs.iter_mut().zip(&targets) {
        let mine = selection::changes_of(target, &dependencies, done);
        let is_mine = |former: &&RollbackItem| mine.iter().any(|c| c.key() == former.change.key());
        let former: Vec<RollbackItem> = former.iter().filter(is_mine).cloned().collect();
        partial::add(&mut job.changes, &mine);
        partial::add(&mut job.former, &former);
        partial::add(&mut job.notes, &[NOTE.to_owned()]);
    }
    for change in done {
        log_change(transaction, change);
    }
}

/// The most bytes of a job's log that are kept.
pub const LOG_LIMIT: u64 = 1024 * 1024;

/// Cuts a log that grew beyond its limit; its beginning and its end say the most.
pub fn cap_log(ctx: &Context, transaction: &JobId) {
    let path = job::log(&ctx.paths, transaction);
    if let Err(error) = crate::fs::cap_file(&path, LOG_LIMIT) {
        tracing::warn!("{error:#}");
    }
}
