//! The reboot after an update: decided with the job's record, asked for when nothing is left to do.

mod ask;

pub use crate::worker::jobs::reboot::ask::{ask, is_due};

use crate::host::clock;
use crate::journal;
use crate::request::{JobId, Kind, RebootPolicy};
use crate::state::job::{Job, JobStatus};
use crate::state::reboot::{Following, Reboot, reasons};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::shutdown::{cancel_scheduled, is_scheduled};
use crate::worker::steps::hold_off;

/// Decides whether a reboot follows jobs that have just ended, which is noted with them: only after an
/// update that changed something and is verified. Intent before effect: it is written down, and asked for
/// by the worker that empties the queue, when the inhibitor is gone.
pub fn decide(ctx: &Context, jobs: &mut [Job]) {
    let policy = |job: &Job| {
        let asked = job.request.options.reboot;
        asked.unwrap_or(ctx.config.reboot.policy)
    };
    let changed = |job: &Job| {
        job.request.kind == Kind::Apply
            && job.status == JobStatus::Succeeded
            && !job.changes.is_empty()
            && policy(job) != RebootPolicy::Never
    };
    if !jobs.iter().any(changed) {
        return;
    }
    let found = reasons(&ctx.paths, Some(&*ctx.packages));
    let delay = ctx.config.reboot.delay.as_secs();
    let mut following = None;
    for job in jobs.iter_mut().filter(|job| changed(job)) {
        let reasons = match (policy(job), found.is_empty()) {
            (RebootPolicy::Always, true) => vec!["every update is followed by a reboot".to_owned()],
            (_, true) => continue,
            _ => found.clone(),
        };
        job.reboot = Some(Following {
            reasons: reasons.clone(),
            delay_seconds: delay,
        });
        following = Some((job.id().clone(), reasons));
    }
    if let Some((job, reasons)) = following {
        intend(ctx, Some(job), reasons, delay);
    }
}

/// A person or a program has asked for a reboot: it takes the place of one that is scheduled.
pub fn order(ctx: &Context, delay: u32) {
    let mut reasons = reasons(&ctx.paths, Some(&*ctx.packages));
    reasons.insert(0, "a user asked for it".to_owned());
    if let Err(error) = hold_off::take_back(ctx, "another reboot was requested") {
        tracing::warn!("{error:#}");
    }
    intend(ctx, None, reasons, delay.into());
}

fn intend(ctx: &Context, job: Option<JobId>, reasons: Vec<String>, delay: u64) {
    let mut reboot = Reboot {
        job,
        reasons,
        delay,
        boot_id: clock::boot_id(),
        at: None,
        planned: None,
        waits: None,
    };
    // the reboot after an update does not postpone one that waits already
    let earlier = waiting(ctx).filter(|_| reboot.job.is_some());
    let earlier = earlier.and_then(|waiting| waiting.planned);
    reboot.planned = earlier.filter(|earlier| *earlier < reboot.time(clock::now()));
    if let Err(error) = reboot.save(&ctx.paths) {
        tracing::error!("no reboot follows: {error:#}");
    }
}

/// The reboot that is still to be asked for in this boot of the host.
fn waiting(ctx: &Context) -> Option<Reboot> {
    let reboot = Reboot::load_to_change(&ctx.paths)?;
    (reboot.at.is_none() && reboot.is_of_this_boot(&ctx.paths)).then_some(reboot)
}

/// Cancels the scheduled reboot or shutdown, whichever program scheduled it, and the reboot that waits.
pub fn cancel(ctx: &Context) {
    let cancelled = cancel_scheduled();
    let removed = Reboot::remove(&ctx.paths);
    match cancelled {
        Err(error) => tracing::warn!("no reboot was cancelled: {error:#}"),
        Ok(()) => journal::reboot_cancelled(),
    }
    if let Err(error) = removed {
        tracing::warn!("{error:#}");
    }
}

/// A job was undone: the reboot that was to follow it is not due any more, unless there is a reason for one on
/// the host all the same.
pub fn not_after(ctx: &Context, undone: &Job) {
    let is_of_it = |reboot: &Reboot| {
        let job = reboot
            .job
            .as_ref()
            .and_then(|id| Job::taken(&ctx.paths, id));
        job.is_some_and(|job| job.transaction == undone.transaction)
    };
    let reboot = Reboot::load_to_change(&ctx.paths).filter(is_of_it);
    let Some(mut reboot) = reboot.filter(|reboot| reboot.is_of_this_boot(&ctx.paths)) else {
        return;
    };
    reboot.reasons = reasons(&ctx.paths, Some(&*ctx.packages));
    if !reboot.reasons.is_empty() {
        if let Err(error) = reboot.save(&ctx.paths) {
            tracing::warn!("{error:#}");
        }
        return;
    }
    // going back has taken it back, unless logind did not answer
    let cancelled = if is_scheduled(ctx) {
        cancel_scheduled()
    } else {
        Ok(())
    };
    match cancelled.and_then(|()| Reboot::remove(&ctx.paths)) {
        Ok(()) => journal::reboot_cancelled(),
        Err(error) => {
            tracing::warn!("the reboot after a job that was undone is not cancelled: {error:#}");
        }
    }
}
