//! Asks for the reboot that is due: at once, or as soon as what is in its way has gone.

use anyhow::anyhow;
use chrono::{DateTime, Utc};

use crate::fs::Lock;
use crate::host::{clock, logind, systemd};
use crate::state::reboot::{Reboot, TIMER};
use crate::state::shutdown;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::shutdown::is_scheduled;
use crate::{journal, queue};

/// Asks logind for the reboot that is due, unless jobs are waiting: the worker that serves them asks at its end.
/// A reboot that another program inhibits is kept, and asked for again whenever the retry timer elapses.
pub fn ask(ctx: &Context) {
    let to_do = |reboot: &Reboot| reboot.at.is_none() || !reboot.is_of_this_boot(&ctx.paths);
    if !Reboot::load_to_change(&ctx.paths).is_some_and(|reboot| to_do(&reboot)) {
        return;
    }
    // one that is at work comes here at its end
    let Ok(Some(_lock)) = Lock::try_take(&ctx.paths.worker_lock()) else {
        return;
    };
    let Some(mut reboot) = Reboot::load_to_change(&ctx.paths).filter(to_do) else {
        return;
    };
    if !reboot.is_of_this_boot(&ctx.paths) {
        // the host has been rebooted since, and once is enough
        if let Err(error) = Reboot::remove(&ctx.paths) {
            tracing::warn!("{error:#}");
        }
        return;
    }
    if ctx.stopping() || queue::length(&ctx.paths) > 0 {
        return;
    }
    let at = reboot.time(clock::now());
    match obstacle(ctx, &reboot).map_or_else(|| schedule(ctx, &mut reboot, at), Err) {
        Ok(()) => {
            let why = reboot.reasons.join(", ");
            journal::reboot_scheduled(reboot.job.as_ref(), at, &why);
            (reboot.at, reboot.waits) = (Some(at), None);
        }
        Err(why) => {
            let why = journal::plain(&why);
            if reboot.waits.as_ref() != Some(&why) {
                journal::reboot_refused(reboot.job.as_ref(), &why);
            }
            (reboot.planned, reboot.waits) = (Some(at), Some(why));
        }
    }
    if let Err(error) = reboot.save(&ctx.paths) {
        tracing::warn!("{error:#}");
    }
}

/// Whether a reboot is still to be asked for, now or when nothing is in its way any more.
pub fn is_due(ctx: &Context) -> bool {
    Reboot::load_to_change(&ctx.paths).is_some_and(|reboot| reboot.at.is_none())
}

/// What is in the way of a reboot, in a sentence. Locks of others count on every systemd: before 257 logind
/// lets root pass them.
fn obstacle(ctx: &Context, reboot: &Reboot) -> Option<String> {
    let foreign = shutdown::foreign(&ctx.paths);
    // what a person asks for takes the place of what is scheduled, as shutdown(8) does it
    if let Some(shutdown) = foreign.filter(|_| reboot.job.is_some()) {
        return Some(shutdown.to_string());
    }
    let holders = logind::shutdown_holders().unwrap_or_else(|error| {
        tracing::debug!("the programs that inhibit a shutdown cannot be listed: {error:#}");
        Vec::new()
    });
    (!holders.is_empty()).then(|| holders.join("; "))
}

/// Asks for it, once the time is written down by which it is known as ours.
fn schedule(ctx: &Context, reboot: &mut Reboot, at: DateTime<Utc>) -> Result<(), String> {
    let again = is_scheduled(ctx) && reboot.planned == Some(at);
    if again {
        // a worker died after it had asked
        return Ok(());
    }
    reboot.planned = Some(at);
    reboot
        .save(&ctx.paths)
        .map_err(|error| format!("{error:#}"))?;
    let why = reboot.reasons.join(", ");
    let message = match &ctx.config.reboot.message {
        Some(message) => message.clone(),
        None => journal::plain(&format!("Package updates need a reboot: {why}")),
    };
    let asked = logind::schedule_reboot(at, &message).or_else(|error| match error {
        // without logind, only the service manager is left to ask
        logind::Refusal::Absent(why) => {
            tracing::debug!("{why}; a timer reboots the host");
            let seconds = (at - clock::now()).num_seconds();
            let seconds = u64::try_from(seconds).unwrap_or(0);
            systemd::start_reboot_timer(TIMER, seconds, &message)
        }
        logind::Refusal::Refused(why) => Err(anyhow!("{why}")),
    });
    asked.map_err(|error| format!("{error:#}"))
}
