//! Asks the planner which updates are pending. A front end runs no package manager: that may need root, files that
//! only root may read, or more memory than a front end has.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::config::Config;
use crate::host::clock;
use crate::package;
use crate::paths::Paths;
use crate::queue::inquiry::Inquiry;
use crate::request::{Request, Target};
use crate::state::cache::Cache;
use crate::state::findings::{self, Findings, Found, Outcome, uptime_usec};
use crate::state::installed::{Names, NotInstalled};
use crate::state::pending::PendingList;

/// How long an answer is waited for: dnf 4 on a slow host takes tens of seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a front end waits for the list of installed packages before it leaves the names to the worker.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);

/// After that long the planner has taken the question, or nothing starts it.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);

/// How often the answer is looked for.
const INTERVAL: Duration = Duration::from_millis(5);

/// The question cannot be answered, because of what is asked.
#[derive(Debug)]
pub struct PlannerRefusal(String);

impl fmt::Display for PlannerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PlannerRefusal {}

/// What is pending: as last worked out, while nothing that it depends on has changed since.
pub fn pending(paths: &Paths) -> Result<PendingList> {
    pending_within(paths, LIMIT)
}

/// The same, and the planner is waited for no longer than that.
pub fn pending_within(paths: &Paths, limit: Duration) -> Result<PendingList> {
    let fingerprint = fingerprint(paths)?;
    let stored = PendingList::load(paths);
    if let Some(stored) = stored.filter(|list| list.is_valid(&fingerprint, clock::now())) {
        return Ok(stored);
    }
    let findings = answer(paths, &Inquiry::Pending, &fingerprint, limit)?;
    let (at, fingerprint) = (findings.at, findings.fingerprint.clone());
    Ok(PendingList {
        computed_at: Some(at),
        fingerprint: Some(fingerprint),
        pending: found(findings)?.pending,
        ..PendingList::default()
    })
}

/// Refuses a request that names a package which is not installed. Where the planner does not say in time what is,
/// the worker will judge it by the same function.
pub fn judge(paths: &Paths, request: &Request) -> Result<(), NotInstalled> {
    let Some(target @ Target::Packages(_)) = &request.packages else {
        return Ok(());
    };
    let installed = || {
        let fingerprint = fingerprint(paths)?;
        found(answer(
            paths,
            &Inquiry::Installed,
            &fingerprint,
            JUDGED_WITHIN,
        )?)
    };
    match installed() {
        Ok(found) => Names::of_keys(found.installed.keys()).judge(target),
        Err(error) => {
            tracing::debug!("the worker will check the names: {error:#}");
            Ok(())
        }
    }
}

/// What an apply of the target would do now.
pub fn plan(paths: &Paths, target: &Target) -> Result<Found> {
    let inquiry = Inquiry::Plan(target.clone());
    found(answer(paths, &inquiry, &fingerprint(paths)?, LIMIT)?)
}

fn found(findings: Findings) -> Result<Found> {
    match findings.outcome {
        Outcome::Found(found) => Ok(found),
        Outcome::Failed(why) => bail!("{why}"),
        Outcome::Refused(why) => bail!(PlannerRefusal(why)),
    }
}

/// The current index, package database and configuration, as far as a front end can see them. What it cannot see
/// has it ask the planner.
pub fn fingerprint(paths: &Paths) -> Result<String> {
    fingerprint_and_files(paths).map(|(fingerprint, _)| fingerprint)
}

/// The same, with the files of the package database.
pub fn fingerprint_and_files(paths: &Paths) -> Result<(String, Vec<&'static str>)> {
    let config = Config::load(paths);
    let config = config.map_err(|error| error.context("the configuration is invalid"))?;
    let packages = package::detect(&config, &std::env::temp_dir())?;
    let cache = Cache::load(paths);
    let fingerprint = packages.fingerprint(&cache.failed_sources());
    Ok((fingerprint, packages.database_files()))
}

/// The planner's answer: the last one, if it still holds, or that to a question which is asked now.
fn answer(
    paths: &Paths,
    inquiry: &Inquiry,
    fingerprint: &str,
    limit: Duration,
) -> Result<Findings> {
    let name = inquiry.name();
    let basis = findings::basis(paths, fingerprint);
    let holds = |known: &Findings| known.is_valid(&basis, clock::now());
    if let Some(known) = Findings::load(paths, &name).filter(holds) {
        return Ok(known);
    }
    let (asked, began) = (uptime_usec(), Instant::now());
    inquiry.submit(paths)?;
    while began.elapsed() < limit {
        thread::sleep(INTERVAL);
        let answer = Findings::load(paths, &name);
        if let Some(answer) = answer.filter(|a| a.began_usec >= asked || holds(a)) {
            return Ok(answer);
        }
        if began.elapsed() > TAKEN_WITHIN && inquiry.waits(paths) {
            bail!(
                "the planner has not taken the question within {} s; see 'systemctl status \
                 patch-plan.path patch-plan.service'",
                TAKEN_WITHIN.as_secs()
            );
        }
    }
    bail!(
        "the planner has not answered within {} s; ask again, or see 'systemctl status patch-plan.service'",
        limit.as_secs()
    )
}
