//! What every front end does between parsing and answering: it makes requests and orders, and works out plans.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::inquire;
use crate::paths::Paths;
use crate::queue::{self, Decision, WorkerCommand};
use crate::request::{JobId, Options, PackageName, Request, Requester, Target, Version};
use crate::state::alert::Cause;
use crate::state::blocked::Blocked;
use crate::state::job::{Job, JobStatus};

/// A request for updates, as the caller asks for it. Nothing is looked up: it is made before the caller is authorised.
pub fn apply(names: &[String], options: Value, door: &str) -> Result<Request> {
    let target = Target::from_names(names)?;
    let options: Options = serde_json::from_value(options)?;
    Request::apply(target, options, Requester::at(door, None))
}

/// The same request, for the caller who was authorised for it. One that may wait for the network is bound to what is
/// installed now, since days may pass; the planner is asked for that.
pub fn bound(paths: &Paths, mut request: Request) -> Result<Request> {
    let Some(target) = &request.packages else {
        return Ok(request);
    };
    if request.options.wait_for_network && request.options.expect.is_empty() {
        request.options.expect = installed_versions(paths, target)?;
    }
    Ok(request)
}

/// The versions of what the target covers: the named packages, or what is pending.
fn installed_versions(paths: &Paths, target: &Target) -> Result<BTreeMap<PackageName, Version>> {
    let installed = inquire::plan(paths, target)?.installed;
    let mut versions = BTreeMap::new();
    for (name, version) in installed {
        versions.insert(expected_name(target, &name).parse()?, version.try_into()?);
    }
    Ok(versions)
}

/// The name that a precondition gives a package: as the request names it, or with its architecture.
fn expected_name(target: &Target, name: &str) -> String {
    let plain = name.split(':').next().unwrap_or(name);
    let Target::Packages(names) = target else {
        return name.to_owned();
    };
    let mut names = names.iter().map(PackageName::as_str);
    let named = names.find(|asked| *asked == name || *asked == plain);
    named.unwrap_or(name).to_owned()
}

/// What an apply of these names would do now.
pub fn plan(paths: &Paths, names: &[String]) -> Result<Value> {
    let planned = match Target::from_names(names)? {
        Target::All => inquire::pending(paths)?.pending,
        target => inquire::plan(paths, &target)?.pending,
    };
    Ok(serde_json::to_value(planned)?)
}

/// What may be asked of a reboot.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RebootOptions {
    /// In so many seconds, a month at most.
    delay: u32,
    /// Not after all.
    cancel: bool,
}

/// The order of a reboot.
pub fn reboot(options: Value) -> Result<WorkerCommand> {
    let options: RebootOptions = serde_json::from_value(options)?;
    ensure!(
        options.delay <= 31 * 24 * 60 * 60,
        "the delay is longer than a month"
    );
    ensure!(
        !(options.cancel && options.delay > 0),
        "a reboot is delayed or cancelled, not both"
    );
    Ok(if options.cancel {
        WorkerCommand::CancelReboot
    } else {
        WorkerCommand::Reboot(options.delay)
    })
}

/// The order that ends the alert `key`, or `all` alerts that an administrator can acknowledge.
pub fn acknowledgement(key: &str) -> Result<WorkerCommand> {
    if key == "all" {
        return Ok(WorkerCommand::Acknowledge(None));
    }
    let cause: Cause = key.parse()?;
    ensure!(
        cause.can_be_acknowledged(),
        "alert {key} reflects the current state and clears by itself; it cannot be acknowledged"
    );
    Ok(WorkerCommand::Acknowledge(Some(cause)))
}

/// What may be asked of a rollback.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RollbackOptions {
    /// What cannot go back stays as it is.
    partial: bool,
}

/// Whether a rollback may leave something as it is.
pub fn partial(options: Value) -> Result<bool> {
    let options: RollbackOptions = serde_json::from_value(options)?;
    Ok(options.partial)
}

/// A request to undo what a job has changed.
pub fn rollback(id: &JobId, partial: bool, door: &str) -> Result<Request> {
    Request::rollback(id.clone(), partial, Requester::at(door, None))
}

/// Whether a job has changed something that can be undone; the error says that there is nothing.
pub fn can_be_undone(paths: &Paths, id: &JobId) -> Result<()> {
    let job = Job::find(paths, id)?.with_context(|| format!("there is no job {id}"))?;
    ensure!(
        job.status.is_final() && !job.changes.is_empty(),
        "job {id} has changed no package, there is nothing to undo"
    );
    Ok(())
}

/// The order to offer again what a job had installed and was rolled back.
pub fn forgetting(paths: &Paths, id: &JobId) -> Result<WorkerCommand> {
    let blocked = Blocked::load(paths);
    ensure!(
        blocked.sets.iter().any(|set| set.job == *id),
        "no package of job {id} is kept back"
    );
    Ok(WorkerCommand::Forget(id.clone()))
}

/// Leaves a decision about a job for the worker.
pub fn decide(paths: &Paths, id: &JobId, mark: Decision) -> Result<()> {
    let job = Job::find(paths, id)?;
    let status = match &job {
        Some(job) => job.status,
        None if queue::is_waiting(paths, id) => JobStatus::Queued,
        None => anyhow::bail!("there is no job {id}"),
    };
    ensure!(
        !status.is_final(),
        "job {id} has ended already: it {}",
        status.as_str()
    );
    ensure!(
        mark == Decision::Cancel || status == JobStatus::Conflict,
        "job {id} is not in conflict, it is {}",
        status.as_str(),
    );
    mark.leave(paths, id)
}
