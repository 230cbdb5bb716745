//! The whole picture of the host, read from the records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::access;
use super::deferred::Deferred;
use super::facts::facts;
use crate::config::Config;
use crate::health::{self, Facts, Health};
use crate::host::clock::{self, Moment};
use crate::package::{self, Pending, sentences};
use crate::paths::Paths;
use crate::state::alert::Alerts;
use crate::state::at_work;
use crate::state::blocked::Blocked;
use crate::state::cache::{Cache, CacheStatus};
use crate::state::job;
use crate::state::pending::{PendingList, Since};
use crate::state::progress::{self, Progress};
use crate::state::reboot;
use crate::state::services::{self, Outdated};
use crate::state::shutdown::{self, Shutdown};
use crate::state::update::UpdateState;
use crate::{queue, state};

/// After a failed refresh, the least time before a read asks for another.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the host knows of itself at one moment.
#[derive(Debug, Clone, Default)]
pub struct HostStatus {
    /// The package manager; empty when there is none to use.
    pub backend: String,
    /// Why configuration or package manager cannot be used.
    pub unusable: Option<String>,
    /// The index.
    pub cache: Cache,
    /// The latest update.
    pub update: UpdateState,
    /// The alerts for the administrator.
    pub alerts: Alerts,
    /// What is pending, as last worked out.
    pub pending: Pending,
    /// Whether that is what is pending now: index, package database and configuration have not changed since.
    pub is_counted: bool,
    /// What these are now, as far as this front end can see.
    pub fingerprint: String,
    /// Since when the security updates of packages have been kept back.
    pub kept_since: BTreeMap<String, DateTime<Utc>>,
    /// Since when something is pending.
    pub since: Since,
    /// The security updates that a rollback by hand keeps back, a sentence for each rollback.
    pub taken_back: Vec<String>,
    /// What keeps the front ends from seeing the state of the host or from being called, a sentence each.
    pub blind: Vec<String>,
    /// Whether the jobs in a worker's hands were interrupted there, and are not finished yet.
    pub is_interrupted: bool,
    /// What is wrong with the package database; not looked at during an update.
    pub problems: Vec<String>,
    /// Whether the package database could be read completely, so that `problems` is exhaustive.
    pub sees_problems: bool,
    /// The jobs in a worker's hands.
    pub running: Vec<String>,
    /// How far they are.
    pub progress: Option<Progress>,
    /// How many requests wait.
    pub queue_length: u32,
    /// The jobs that were put off, the oldest first; ten at most.
    pub deferred: Vec<Deferred>,
    /// How many jobs are in conflict.
    pub conflicts: usize,
    /// Why the host should be rebooted.
    pub reboot_reasons: Vec<String>,
    /// The scheduled shutdown, whichever program or person scheduled it.
    pub shutdown: Option<Shutdown>,
    /// What a reboot that was asked for waits for.
    pub reboot_waits: Option<String>,
    /// What still runs replaced files.
    pub outdated_services: Vec<Outdated>,
}

/// What a worker has published of its transaction; none when no job runs.
pub(super) fn progress_of(paths: &Paths, running: &[String]) -> Option<Progress> {
    progress::load(paths).filter(|_| !running.is_empty())
}

impl HostStatus {
    /// Reads the records.
    #[must_use]
    pub fn take(paths: &Paths) -> Self {
        let config = Config::load(paths);
        let scratch = std::env::temp_dir();
        let packages = match &config {
            Ok(config) => package::detect(config, &scratch),
            Err(_) => package::detect(&Config::default(), &scratch),
        };
        let unusable = match (&config, &packages) {
            (Err(error), _) => Some(format!("the configuration is invalid: {error:#}")),
            (_, Err(error)) => Some(format!("{error:#}")),
            _ => None,
        };
        let running: Vec<String> = state::read(&paths.running()).unwrap_or_default();
        let progress = progress_of(paths, &running);
        let problems = match &packages {
            // a package that is being unpacked is no problem of the database
            Ok(packages) if progress.is_none() => problems_of(packages.as_ref()),
            _ => Vec::new(),
        };
        let cache = Cache::load(paths);
        let list = PendingList::load(paths);
        let fingerprint = packages
            .as_ref()
            .map(|p| p.fingerprint(&cache.failed_sources()));
        let fingerprint = fingerprint.unwrap_or_default();
        // a host that has no list yet has no old one either
        let is_counted = packages.is_err() || list.as_ref().is_none_or(|l| l.is_for(&fingerprint));
        let PendingList {
            pending,
            kept_since,
            ..
        } = list.unwrap_or_default();
        let lacking = access::lacking(paths, &records(paths));
        Self {
            backend: packages.as_ref().map_or("", |p| p.name()).to_owned(),
            unusable,
            cache,
            update: UpdateState::load(paths),
            alerts: Alerts::load(paths),
            taken_back: Blocked::load(paths).taken_back(&pending),
            pending,
            is_counted,
            fingerprint,
            kept_since,
            blind: lacking.into_iter().collect(),
            is_interrupted: !running.is_empty() && !at_work::is_serving(paths),
            since: Since::load(paths),
            problems,
            sees_problems: packages.as_ref().is_ok_and(|p| p.sees_problems()),
            running,
            progress,
            queue_length: u32::try_from(queue::length(paths)).unwrap_or(u32::MAX),
            deferred: Deferred::oldest(paths),
            conflicts: job::ids(&paths.conflicts()).len(),
            reboot_reasons: reboot::reasons(paths, packages.as_deref().ok()),
            shutdown: shutdown::scheduled(paths),
            reboot_waits: reboot::waits(paths),
            outdated_services: services::load(paths),
        }
    }

    /// The first of the running jobs; empty when none runs.
    #[must_use]
    pub fn current_job(&self) -> &str {
        self.running.first().map_or("", String::as_str)
    }

    /// How far the running transaction is, from 0 to 100; 0 when none runs.
    #[must_use]
    pub fn percent(&self) -> u32 {
        self.progress
            .as_ref()
            .map_or(0, |progress| progress.percent)
    }

    /// Health, and why.
    #[must_use]
    pub fn health(&self) -> (Health, Vec<String>) {
        health::health(Facts {
            cache: &self.cache,
            alerts: &self.alerts.alerts,
            problems: &self.problems,
            sees_problems: self.sees_problems,
            taken_back: &self.taken_back,
            unusable: self.unusable.as_deref(),
            blind: &self.blind,
            under_way: self.under_way().as_deref(),
            kept_too_long: health::kept_back_too_long(&self.kept_since, clock::now()).as_deref(),
        })
    }

    /// That a job was interrupted and is not finished yet.
    fn under_way(&self) -> Option<String> {
        if !self.is_interrupted {
            return None;
        }
        let (job, phase) = (self.current_job(), self.update.phase.as_str());
        Some(format!(
            "job {job} was interrupted ({phase}), and is not finished yet; \
             'systemctl status patch-recover.service' shows its progress"
        ))
    }

    /// How far the index can be trusted now.
    #[must_use]
    pub fn cache_status(&self) -> CacheStatus {
        self.cache.status(clock::now(), &Moment::now())
    }

    /// Whether the index should be refreshed.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.cache.is_stale(clock::now(), &Moment::now())
    }

    /// Whether the reader of this picture should ask for a refresh: the index is stale, and the last refresh
    /// that failed is not of just now.
    #[must_use]
    pub fn wants_refresh(&self) -> bool {
        let since = self.cache.since_attempt(clock::now(), &Moment::now());
        let just_now = since.is_some_and(|since| since < ASK_AGAIN);
        self.is_stale() && (self.cache.last_update_success || !just_now)
    }

    /// How many of the pending updates are security updates.
    #[must_use]
    pub fn pending_security(&self) -> u32 {
        let count = self
            .pending
            .updates
            .iter()
            .filter(|update| update.security && update.installed.is_some())
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How many security updates are kept back.
    #[must_use]
    pub fn kept_back_security(&self) -> u32 {
        let kept = self.pending.kept_back.iter().filter(|kept| kept.security);
        u32::try_from(kept.count()).unwrap_or(u32::MAX)
    }

    /// Which shutdown is scheduled, as logind calls it; empty when none is.
    #[must_use]
    pub fn shutdown_mode(&self) -> String {
        let shutdown = self.shutdown.as_ref();
        shutdown.map_or_else(String::new, |shutdown| shutdown.mode.clone())
    }

    /// For when, in microseconds since 1970; 0 when none is.
    #[must_use]
    pub fn shutdown_usec(&self) -> u64 {
        let at = self.shutdown.as_ref().map(|s| s.at.timestamp_micros());
        at.and_then(|at| u64::try_from(at).ok()).unwrap_or(0)
    }

    /// For when a reboot is scheduled.
    #[must_use]
    pub fn scheduled_reboot(&self) -> Option<DateTime<Utc>> {
        let reboot = self.shutdown.as_ref().filter(|s| s.is_reboot())?;
        Some(reboot.at)
    }

    /// How many updates of installed packages are pending.
    #[must_use]
    pub fn pending_updates(&self) -> u32 {
        let updates = self.pending.updates.iter();
        let count = updates.filter(|update| update.installed.is_some()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How many packages would be installed newly, because an update needs them.
    #[must_use]
    pub fn pending_new_packages(&self) -> u32 {
        let updates = self.pending.updates.iter();
        let count = updates.filter(|update| update.installed.is_none()).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Everything, for `CheckHealth` and `patchctl status --json`.
    #[must_use]
    pub fn json(&self) -> Value {
        let (health, reasons) = self.health();
        let mut picture = facts(&Paths::default());
        let state = json!({
            "status": health.as_str(),
            "reasons": reasons,
            "alerts": self.alerts.alerts,
            "backend": self.backend,
            "cache_status": self.cache_status().as_str(),
            "last_cache_update": self.cache.last_cache_update,
            "last_cache_error": self.cache.last_error,
            "notes": self.cache.notes,
            "sources": self.cache.sources,
            "pending_updates": self.pending_updates(),
            "pending_security_updates": self.pending_security(),
            "pending_new_packages": self.pending_new_packages(),
            "kept_back_security_updates": self.kept_back_security(),
            "pending_since": self.since.pending_since,
            "pending_security_since": self.since.pending_security_since,
            "kept_back": self.pending.kept_back,
            "phase": self.update.phase.as_str(),
            "target": self.update.target,
            "from_version": self.update.from_version,
            "to_version": self.update.to_version,
            "attempt_count": self.update.attempt_count,
            "last_error": self.update.last_error,
            "last_success_at": self.update.last_success_at,
            "current_job": self.current_job(),
            "progress": self.percent(),
            "action": self.progress.as_ref().map_or("", |progress| &progress.action),
            "queue_length": self.queue_length,
            "deferred_jobs": self.deferred,
            "conflicts": self.conflicts,
            "reboot_required": !self.reboot_reasons.is_empty(),
            "reboot_reasons": self.reboot_reasons,
            "scheduled_reboot": self.scheduled_reboot(),
            "scheduled_shutdown": self.shutdown,
            "reboot_waits": self.reboot_waits,
            "outdated_services": services::current_of(&Paths::default(), &self.outdated_services),
        });
        if let (Value::Object(picture), Value::Object(state)) = (&mut picture, state) {
            picture.extend(state);
        }
        picture
    }
}

/// The records that a picture is made of.
pub(super) fn records(paths: &Paths) -> Vec<PathBuf> {
    let names = [
        "alerts.json",
        "blocked.json",
        "cache.json",
        "reboot.json",
        "update.json",
        "updates.json",
    ];
    let mut records = names.map(|name| paths.state().join(name)).to_vec();
    records.push(paths.running());
    records
}

/// What is wrong with the package database, a sentence each.
fn problems_of(packages: &dyn package::PackageManager) -> Vec<String> {
    let problems = packages.problems();
    problems.map_or_else(|error| vec![format!("{error:#}")], sentences)
}
