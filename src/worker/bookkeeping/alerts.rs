//! Alerts: raised and resolved where the worker learns of their causes, and announced to hooks and front ends.

use crate::host::systemd;
use crate::package::sentences;
use crate::queue::parked;
use crate::request::{JobId, Kind, Request, Target};
use crate::state::alert::{Alert, AlertEvent, Alerts, Cause};
use crate::state::blocked::Blocked;
use crate::state::cache::{Cache, LAST_REFRESH_FAILED};
use crate::state::job::{Job, JobStatus};
use crate::state::update::Phase;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::errors::RefreshFailed;
use crate::worker::bookkeeping::job_result::ROLLED_BACK;
use crate::worker::model::self_package;
use crate::{PACKAGE, journal};

/// Raises an alert. If that fails, the records still say the same.
pub fn raise(ctx: &Context, cause: Cause, text: &str, job: Option<&JobId>) {
    raised(ctx, cause, text, job).iter().for_each(announce);
}

/// The same, and the event is still to be announced.
fn raised(ctx: &Context, cause: Cause, text: &str, job: Option<&JobId>) -> Option<AlertEvent> {
    let text = journal::plain(text);
    change(ctx, |alerts| alerts.raise(cause, &text, job))
}

/// Resolves an alert, if it stands.
pub fn resolve(ctx: &Context, cause: Cause) {
    resolved(ctx, cause).iter().for_each(announce);
}

/// The same, and the event is still to be announced.
fn resolved(ctx: &Context, cause: Cause) -> Option<AlertEvent> {
    let alerts = Alerts::load_to_change(&ctx.paths);
    // most often there is none, and nothing to write
    alerts.standing(cause)?;
    change(ctx, |alerts| alerts.resolve(cause))
}

/// Raises or resolves the alert of a refresh that has ended; one that was stopped on request does neither.
pub fn refreshed(ctx: &Context, result: &anyhow::Result<()>) {
    match result {
        // the list of what is pending is still to be made
        Ok(()) if Cache::load(&ctx.paths).list_error.is_some() => {}
        Ok(()) => resolve(ctx, Cause::RefreshFailing),
        Err(_) if ctx.stopping() => {}
        Err(error) => {
            // its own text begins with "refresh failed"
            let text = if error.is::<RefreshFailed>() {
                format!("the last {error:#}")
            } else {
                format!("{LAST_REFRESH_FAILED}: {error:#}")
            };
            raise(ctx, Cause::RefreshFailing, &text, None);
        }
    }
}

/// Jobs have ended together: one that ended badly raises an alert, otherwise one that succeeded
/// resolves it. That our own package was not updated is an alert of its own, which only its update ends.
/// Written down before the jobs' records say that they have ended, so that a look at the host at that moment
/// finds it degraded; the events are to be announced once the records are there for the hooks.
pub fn settled(ctx: &Context, jobs: &[Job]) -> Vec<AlertEvent> {
    let mut events = Vec::new();
    let failed_itself =
        |job: &Job| job.status == JobStatus::Failed && self_package::has_updated(job);
    let of = |status: JobStatus| {
        let mut jobs = jobs
            .iter()
            .filter(|job| job.request.kind != Kind::Refresh && !failed_itself(job));
        jobs.find(|job| job.status == status)
    };
    for job in jobs.iter().filter(|job| self_package::has_updated(job)) {
        match job.status {
            JobStatus::Failed => events.extend(self_update_failed(ctx, job)),
            // not when there was nothing to do, as with a version that is not offered again
            JobStatus::Succeeded if self_package::is_among(&job.changes) => {
                events.extend(resolved(ctx, Cause::SelfUpdateFailed));
            }
            _ => {}
        }
    }
    if let Some(job) = of(JobStatus::Failed) {
        let rolled_back = job.update.phase == Phase::RolledBack;
        let (cause, what) = if rolled_back {
            (Cause::RolledBack, "failed and was rolled back")
        } else {
            (Cause::UpdateFailed, "failed")
        };
        let packages = job.request.packages.as_ref();
        let target = packages.map_or_else(|| job.request.kind.to_string(), ToString::to_string);
        let why = job.error.as_deref().unwrap_or("no reason is recorded");
        let why = why.strip_prefix(ROLLED_BACK).unwrap_or(why);
        let text = format!("the last update ({target}) {what}: {why}");
        events.extend(raised(ctx, cause, &text, Some(job.id())));
        if rolled_back && makes_up_for(ctx, job, Cause::UpdateFailed) {
            events.extend(resolved(ctx, Cause::UpdateFailed));
        }
        if !rolled_back && Blocked::load_to_change(&ctx.paths).is_empty() {
            events.extend(resolved(ctx, Cause::RolledBack));
        }
    } else if of(JobStatus::Succeeded).is_some() {
        let mut succeeded = jobs
            .iter()
            .filter(|job| job.status == JobStatus::Succeeded && job.request.kind != Kind::Refresh);
        if succeeded.any(|job| makes_up_for(ctx, job, Cause::UpdateFailed)) {
            events.extend(resolved(ctx, Cause::UpdateFailed));
        }
        // a success that does without what was rolled back does not mend it
        let changed = |job: &Job| job.status == JobStatus::Succeeded && !job.changes.is_empty();
        if jobs.iter().any(changed) && Blocked::load_to_change(&ctx.paths).is_empty() {
            events.extend(resolved(ctx, Cause::RolledBack));
        }
    }
    events
}

/// Whether a job covers all that the job asked for which raised the alert of this cause. Where that one's record
/// is gone, any job does.
fn makes_up_for(ctx: &Context, job: &Job, cause: Cause) -> bool {
    let alerts = Alerts::load_to_change(&ctx.paths);
    let raised_by = alerts
        .standing(cause)
        .and_then(|alert| alert.job.as_ref())
        .and_then(|id| Job::load(&ctx.paths, id).ok().flatten());
    raised_by.is_none_or(|failed| covers(&job.request, &failed.request))
}

/// Whether a request asks for all that another one asked for, or undoes its job: pure.
fn covers(request: &Request, other: &Request) -> bool {
    if request.job.is_some() {
        return request.job == other.job || request.job.as_ref() == Some(&other.id);
    }
    match (&request.packages, &other.packages) {
        (Some(Target::All), _) | (Some(Target::Security), Some(Target::Security)) => true,
        (Some(Target::Packages(names)), Some(Target::Packages(others))) => {
            others.iter().all(|name| names.contains(name))
        }
        _ => false,
    }
}

/// The update of this program failed, or its new version does not answer.
fn self_update_failed(ctx: &Context, job: &Job) -> Option<AlertEvent> {
    let to = job.update.to_version.as_deref().unwrap_or("a new version");
    let why = job.error.as_deref().unwrap_or("no reason is recorded");
    let text = format!("the update of {PACKAGE} to {to} failed: {why}");
    raised(ctx, Cause::SelfUpdateFailed, &text, Some(job.id()))
}

/// Resolves the alert of this cause, or all that can be acknowledged: the administrator has seen it.
pub fn acknowledge(ctx: &Context, cause: Option<Cause>) {
    for known in Cause::ALL {
        if known.can_be_acknowledged() && cause.is_none_or(|cause| cause == known) {
            resolve(ctx, known);
        }
    }
}

/// Checks for causes outside of this worker's jobs: jobs in conflict, problems of the package database. Hooks that
/// could not be started before are started.
pub fn check_host(ctx: &Context) {
    match parked::conflicts(&ctx.paths).as_slice() {
        [] => resolve(ctx, Cause::ConflictWaiting),
        [job, rest @ ..] => {
            let more = match rest.len() {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            let id = job.id();
            let text = format!("job {id}{more} is in conflict and waits for 'patchctl resolve'");
            raise(ctx, Cause::ConflictWaiting, &text, Some(id));
        }
    }
    match ctx.packages.problems() {
        Ok(problems) if problems.is_empty() => resolve(ctx, Cause::DatabaseInterrupted),
        Ok(problems) => {
            let text = sentences(problems).join("; ");
            raise(ctx, Cause::DatabaseInterrupted, &text, None);
        }
        Err(error) => tracing::debug!("the package database was not checked: {error:#}"),
    }
    // this worker has the lock, so that no package manager of ours runs that could hang
    resolve(ctx, Cause::UpdateStuck);
    let alerts = Alerts::load_to_change(&ctx.paths);
    for cause in Cause::ALL {
        if alerts.unhooked(cause).is_some() {
            start_hooks(cause.as_str());
        }
    }
}

fn change(
    ctx: &Context,
    change: impl FnOnce(&mut Alerts) -> Option<AlertEvent>,
) -> Option<AlertEvent> {
    let changed = Alerts::change(&ctx.paths, change);
    changed.unwrap_or_else(|error| {
        tracing::warn!("an alert could not be saved: {error:#}");
        None
    })
}

/// Says what happened in the journal, and has the hooks told.
pub fn announce(event: &AlertEvent) {
    say(event);
    start_hooks(&event.alert.key);
}

/// Says in the journal that an alert was raised or resolved.
pub fn say(event: &AlertEvent) {
    let Alert { key, text, job, .. } = &event.alert;
    if event.raised {
        journal::alert_raised(key, text, job.as_ref());
    } else {
        journal::alert_resolved(key, text, job.as_ref());
    }
}

fn start_hooks(key: &str) {
    if let Err(error) = systemd::start_unit_soon(format!("patch-alert@{key}.service")) {
        // without a service manager no unit runs the hooks
        tracing::debug!("the hooks were not started: {error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Options, Requester};

    #[test]
    fn a_failure_is_made_up_for_by_what_asks_for_no_less() {
        let asking = |names: &[&str]| {
            let target = Target::from_names(names).unwrap();
            Request::apply(target, Options::default(), Requester::at("test", None)).unwrap()
        };
        let undoing =
            |id: &JobId| Request::rollback(id.clone(), false, Requester::at("test", None)).unwrap();
        let (all, security) = (asking(&["all"]), asking(&["security"]));
        let (both, one) = (asking(&["demo", "tool"]), asking(&["demo"]));
        for made_up in [&all, &security, &both, &one] {
            assert!(covers(&all, made_up) && covers(made_up, made_up));
            assert!(covers(&undoing(&made_up.id), made_up));
            assert!(!covers(&undoing(&JobId::new().unwrap()), made_up));
        }
        assert!(covers(&both, &one));
        for (request, other) in [
            (&security, &all),
            (&one, &all),
            (&one, &both),
            (&both, &security),
        ] {
            assert!(!covers(request, other));
        }
    }
}
