//! What every door does between parsing and answering: make requests, look jobs up, work out plans.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::config::Config;
use crate::package::{self, Database, Pending, Update};
use crate::paths::Paths;
use crate::queue::{self, Mark, Order};
use crate::request::{JobId, Options, Request, Requester, Target};
use crate::state::alert::Cause;
use crate::state::blocked::Blocked;
use crate::state::cache::Cache;
use crate::state::job::{self, Job, JobStatus};
use crate::state::pending::PendingList;

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
fn installed_versions(
    paths: &Paths,
    target: &Target,
) -> Result<std::collections::BTreeMap<crate::request::PackageName, crate::request::Version>> {
    let database = packages(paths)?.installed()?;
    let names: Vec<String> = match target {
        Target::Packages(names) => names.iter().map(ToString::to_string).collect(),
        Target::All | Target::Security => {
            let pending = PendingList::load(paths).unwrap_or_default().pending.updates;
            let covered = pending
                .into_iter()
                .filter(|u| *target == Target::All || u.security);
            covered.map(|update| update.key().to_string()).collect()
        }
    };
    let mut versions = std::collections::BTreeMap::new();
    for name in &names {
        if let Some(version) = version(&database, name) {
            versions.insert(name.parse()?, version.try_into()?);
        }
    }
    Ok(versions)
}

fn version(database: &Database, name: &str) -> Option<String> {
    let mut of_name = database
        .iter()
        .filter(|(key, _)| key.package == name || key.to_string() == name);
    of_name
        .next()
        .map(|(_, installed)| installed.version.clone())
}

/// What an apply of these names would do now.
pub fn plan(paths: &Paths, names: &[String], pending: &Pending) -> Result<Value> {
    let target = Target::from_names(names)?;
    if target == Target::Security
        && let Some(why) = packages(paths)?.no_security()?
    {
        anyhow::bail!("it is not known which updates are for security: {why}");
    }
    let covered = |update: &&Update| match &target {
        Target::All => true,
        Target::Security => update.security,
        Target::Packages(names) => names.iter().any(|name| {
            name.as_str() == update.package || name.as_str() == update.key().to_string()
        }),
    };
    let selected: Vec<Update> = pending.updates.iter().filter(covered).cloned().collect();
    let planned = if target == Target::All || selected.is_empty() {
        Pending {
            updates: selected,
            kept_back: pending.kept_back.clone(),
        }
    } else {
        let cache = Cache::load(paths);
        packages(paths)?.plan(&selected, &cache.failed_sources())?
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

/// A request to undo what a job has changed.
pub fn rollback(paths: &Paths, id: &JobId, door: &str) -> Result<Request> {
    let job = Job::find(paths, id)?.with_context(|| format!("there is no job {id}"))?;
    ensure!(
        job.status.is_final() && !job.changes.is_empty(),
        "job {id} has changed no package, there is nothing to undo"
    );
    Request::rollback(id.clone(), Requester::at(door, None))
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
        job.update = crate::state::update::UpdateState::load(paths);
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

/// The package manager, with a directory for temporary files that an unprivileged door has.
pub fn packages(paths: &Paths) -> Result<Box<dyn package::PackageManager>> {
    let config = Config::load(paths).context("the configuration is invalid")?;
    package::detect(&config, Path::new(&std::env::temp_dir()))
}
