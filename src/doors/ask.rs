//! What every door does between parsing and answering: make requests, look jobs up, work out plans.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::inquire;
use crate::paths::Paths;
use crate::queue::{self, Mark, Order};
use crate::request::{JobId, Options, PackageName, Request, Requester, Target, Version};
use crate::state::alert::Cause;
use crate::state::blocked::Blocked;
use crate::state::job::{self, Job, JobStatus};

/// A request for updates, complete: whoever authorises it knows all of it, and nothing is added later.
/// One that may wait for the network is bound to what is installed now, since days may pass.
pub fn apply(paths: &Paths, names: &[String], options: Value, door: &str) -> Result<Request> {
    let target = Target::from_names(names)?;
    let mut options: Options = serde_json::from_value(options)?;
    if options.wait_for_network && options.expect.is_empty() {
        options.expect = installed_versions(paths, &target)?;
    }
    Request::apply(target, options, Requester::at(door, None))
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
pub fn reboot(options: Value) -> Result<Order> {
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
        Order::CancelReboot
    } else {
        Order::Reboot(options.delay)
    })
}

/// The order that ends the alert `key`, or `all` alerts that somebody can end.
pub fn acknowledgement(key: &str) -> Result<Order> {
    if key == "all" {
        return Ok(Order::Acknowledge(None));
    }
    let cause: Cause = key.parse()?;
    ensure!(
        cause.can_be_acknowledged(),
        "{key} says how the host is, and ends when it is no longer so"
    );
    Ok(Order::Acknowledge(Some(cause)))
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
pub fn rollback(paths: &Paths, id: &JobId, partial: bool, door: &str) -> Result<Request> {
    let job = Job::find(paths, id)?.with_context(|| format!("there is no job {id}"))?;
    ensure!(
        job.status.is_final() && !job.changes.is_empty(),
        "job {id} has changed no package, there is nothing to undo"
    );
    Request::rollback(id.clone(), partial, Requester::at(door, None))
}

/// The order to offer again what a job had installed and was rolled back.
pub fn forgetting(paths: &Paths, id: &JobId) -> Result<Order> {
    let blocked = Blocked::load(paths);
    ensure!(
        blocked.sets.iter().any(|set| set.job == *id),
        "nothing of job {id} is kept back"
    );
    Ok(Order::Forget(id.clone()))
}

/// Leaves a decision about a job for the worker.
pub fn decide(paths: &Paths, id: &JobId, mark: Mark) -> Result<()> {
    let job = Job::find(paths, id)?;
    let status = match &job {
        Some(job) => job.status,
        None if is_queued(paths, id) => JobStatus::Queued,
        None => anyhow::bail!("there is no job {id}"),
    };
    ensure!(
        !status.is_final(),
        "job {id} has ended already: it {}",
        status.as_str()
    );
    ensure!(
        mark == Mark::Cancel || status == JobStatus::Conflict,
        "job {id} is not in conflict, it is {}",
        status.as_str(),
    );
    mark.leave(paths, id)
}

/// One job, wherever it is; its update is the host's while it runs.
pub fn job(paths: &Paths, id: &JobId) -> Result<Option<Value>> {
    if let Some(record) = record(paths, id)? {
        return Ok(Some(record));
    }
    if is_queued(paths, id) {
        return Ok(Some(json!({"request": {"id": id}, "status": "queued"})));
    }
    // a worker may have taken it between the two looks
    record(paths, id)
}

fn record(paths: &Paths, id: &JobId) -> Result<Option<Value>> {
    let Some(mut job) = Job::find(paths, id)? else {
        return Ok(None);
    };
    if job.status == JobStatus::Running {
        job.update = crate::state::update::UpdateState::of_job(paths, job.started_at);
    }
    Ok(Some(serde_json::to_value(&job)?))
}

/// The jobs, newest first: those that wait, then those that are or were in a worker's hands.
pub fn jobs(paths: &Paths, limit: usize, active: bool) -> Result<Vec<Value>> {
    let mut waiting = queue::waiting(paths, limit)?;
    waiting.reverse();
    let waiting = waiting.into_iter().map(Job::new);
    let known = job::list(paths, limit).into_iter();
    let shown = waiting
        .chain(known)
        .filter(|job| !active || !job.status.is_final())
        .take(limit);
    shown.map(|job| Ok(serde_json::to_value(&job)?)).collect()
}

fn is_queued(paths: &Paths, id: &JobId) -> bool {
    paths.queue().join(format!("{id}.json")).exists()
}
