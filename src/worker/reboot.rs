//! The reboot after an update: decided with the job's record, asked for when nothing is left to do.

use chrono::TimeDelta;

use super::Worker;
use crate::fs::Lock;
use crate::host::{clock, logind, systemd};
use crate::request::{Kind, RebootPolicy};
use crate::state::job::{Job, JobStatus};
use crate::state::reboot::{Following, Reboot, TIMER, reasons};
use crate::{journal, queue};

/// Decides whether a reboot follows jobs that have just ended, which is noted with them: only after an
/// update that changed something and is verified. Intent before effect: it is written down, and asked for
/// by whoever empties the queue, when the lock and the inhibitor are gone.
pub fn decide(worker: &Worker, jobs: &mut [Job]) {
    let policy = |job: &Job| {
        let asked = job.request.options.reboot;
        asked.unwrap_or(worker.config.reboot.policy)
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
    let found = reasons(&worker.paths, Some(&*worker.packages));
    let delay = worker.config.reboot.delay.as_secs();
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
        intend(worker, Some(job), reasons, delay);
    }
}

/// Somebody asked for a reboot.
pub fn order(worker: &Worker, delay: u32) {
    let mut reasons = reasons(&worker.paths, Some(&*worker.packages));
    reasons.insert(0, "somebody asked for it".to_owned());
    intend(worker, None, reasons, delay.into());
}

fn intend(worker: &Worker, job: Option<crate::request::JobId>, reasons: Vec<String>, delay: u64) {
    let reboot = Reboot {
        job,
        reasons,
        delay,
        boot_id: clock::boot_id(),
        at: None,
    };
    if let Err(error) = reboot.save(&worker.paths) {
        tracing::error!("no reboot follows: {error:#}");
    }
}

/// Takes back what was asked for, by us or by anybody.
pub fn cancel(worker: &Worker) {
    let by_logind = logind::cancel_shutdown();
    let timer = systemd::stop_unit(TIMER);
    let removed = Reboot::remove(&worker.paths);
    match by_logind {
        // without logind there is the timer alone
        Err(error) if timer.is_err() => tracing::warn!("no reboot was cancelled: {error:#}"),
        _ => journal::reboot_cancelled(),
    }
    if let Err(error) = removed {
        tracing::warn!("{error:#}");
    }
}

/// Asks for the reboot that is due, unless more is to be done first: whoever does that comes here, too.
/// The caller holds no lock.
pub fn ask(worker: &Worker) {
    if Reboot::load_to_change(&worker.paths).is_none_or(|reboot| reboot.at.is_some()) {
        return;
    }
    // two workers may come to their ends at once, and one reboot is enough
    let Ok(Some(_alone)) = Lock::try_take(&worker.paths.run().join("reboot.lock")) else {
        return;
    };
    let due = Reboot::load_to_change(&worker.paths).filter(|reboot| reboot.at.is_none());
    let Some(mut reboot) = due else { return };
    if worker.stopping() || queue::length(&worker.paths) > 0 {
        return;
    }
    if reboot.boot_id != clock::boot_id() {
        // the host has been rebooted since
        let _ = Reboot::remove(&worker.paths);
        return;
    }
    let at = clock::now() + TimeDelta::seconds(i64::try_from(reboot.delay).unwrap_or(0));
    let why = reboot.reasons.join(", ");
    let message = match &worker.config.reboot.message {
        Some(message) => message.clone(),
        None => journal::plain(&format!("Package updates need a reboot: {why}")),
    };
    let asked = logind::schedule_reboot(at, &message).or_else(|error| match error {
        // there is nobody else to ask than the service manager itself
        logind::Refusal::Absent(why) => {
            tracing::debug!("{why}; a timer reboots the host");
            systemd::start_reboot_timer(TIMER, reboot.delay, &message)
        }
        logind::Refusal::Refused(why) => Err(anyhow::anyhow!("{why}")),
    });
    match asked {
        Ok(()) => {
            journal::reboot_scheduled(reboot.job.as_ref(), at, &why);
            reboot.at = Some(at);
            if let Err(error) = reboot.save(&worker.paths) {
                tracing::warn!("{error:#}");
            }
        }
        Err(error) => {
            journal::reboot_refused(reboot.job.as_ref(), &format!("{error:#}"));
            let _ = Reboot::remove(&worker.paths);
        }
    }
}
