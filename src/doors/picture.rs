//! The whole picture of the host, read from the records; read again only when they have changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::config::Config;
use crate::health::{self, Facts, Health};
use crate::host::clock::{self, Moment};
use crate::package::{self, Pending, sentences};
use crate::paths::Paths;
use crate::state::alert::Alerts;
use crate::state::blocked::Blocked;
use crate::state::cache::{Cache, CacheStatus};
use crate::state::pending::PendingList;
use crate::state::reboot;
use crate::state::services::{self, Outdated};
use crate::state::shutdown::{self, Shutdown};
use crate::state::update::UpdateState;
use crate::{VERSION, queue, state};

/// After a failed refresh, the least time before a read asks for another.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the host knows of itself at one moment.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// The package manager; empty when there is none to use.
    pub backend: String,
    /// Why configuration or package manager cannot be used.
    pub unusable: Option<String>,
    /// The index.
    pub cache: Cache,
    /// The latest update.
    pub update: UpdateState,
    /// What somebody should know.
    pub alerts: Alerts,
    /// What is pending, as last worked out.
    pub pending: Pending,
    /// The security updates that a rollback by hand keeps back, a sentence for each rollback.
    pub taken_back: Vec<String>,
    /// What is wrong with the package database; not looked at during an update.
    pub problems: Vec<String>,
    /// Whether nothing else can be wrong with it.
    pub sees_problems: bool,
    /// The jobs in a worker's hands.
    pub running: Vec<String>,
    /// How far they are.
    pub progress: Progress,
    /// How many requests wait.
    pub queue_length: u32,
    /// Why the host should be rebooted.
    pub reboot_reasons: Vec<String>,
    /// The shutdown that is scheduled, whoever has asked for it.
    pub shutdown: Option<Shutdown>,
    /// What a reboot that was asked for waits for.
    pub reboot_waits: Option<String>,
    /// What still runs replaced files.
    pub outdated_services: Vec<Outdated>,
}

/// How far the running transaction is: `progress.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Progress {
    /// The job whose transaction it is; one of those that run.
    pub job: String,
    /// 0 to 100.
    pub percent: u32,
    /// What it is doing, in one phrase.
    pub action: String,
}

impl Progress {
    /// What was published last; nothing when no job runs.
    fn of(paths: &Paths, running: &[String]) -> Self {
        let published = state::try_read::<Self>(&paths.progress()).unwrap_or(None);
        published
            .filter(|_| !running.is_empty())
            .unwrap_or_default()
    }

    /// Whether a worker is at an update: a package that is unpacked meanwhile is no problem of the database.
    /// What it publishes goes with a reboot, and one that dies leaves an alert.
    fn is_update(&self) -> bool {
        !self.job.is_empty()
    }
}

impl Picture {
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
        let running: Vec<String> =
            state::read(&paths.state().join("running.json")).unwrap_or_default();
        let progress = Progress::of(paths, &running);
        let problems = match &packages {
            Ok(packages) if !progress.is_update() => packages
                .problems()
                .map_or_else(|error| vec![format!("{error:#}")], sentences),
            _ => Vec::new(),
        };
        let pending = PendingList::load(paths).unwrap_or_default().pending;
        Self {
            backend: packages.as_ref().map_or("", |p| p.name()).to_owned(),
            unusable,
            cache: Cache::load(paths),
            update: UpdateState::load(paths),
            alerts: Alerts::load(paths),
            taken_back: Blocked::load(paths).taken_back(&pending),
            pending,
            problems,
            sees_problems: packages.as_ref().is_ok_and(|p| p.sees_problems()),
            running,
            progress,
            queue_length: u32::try_from(queue::length(paths)).unwrap_or(u32::MAX),
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
        })
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

    /// Whether whoever reads this should ask for a refresh: the index is stale, and the last refresh
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
            .filter(|update| update.security)
            .count();
        u32::try_from(count).unwrap_or(u32::MAX)
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

    /// How many updates are pending.
    #[must_use]
    pub fn pending_updates(&self) -> u32 {
        u32::try_from(self.pending.updates.len()).unwrap_or(u32::MAX)
    }

    /// Everything, for `CheckHealth` and `patchctl status --json`.
    #[must_use]
    pub fn json(&self) -> Value {
        let (health, reasons) = self.health();
        json!({
            "status": health.as_str(),
            "reasons": reasons,
            "alerts": self.alerts.alerts,
            "version": VERSION,
            "backend": self.backend,
            "uptime_seconds": clock::uptime().as_secs(),
            "cache_status": self.cache_status().as_str(),
            "last_cache_update": self.cache.last_cache_update,
            "last_cache_error": self.cache.last_error,
            "sources": self.cache.sources,
            "pending_updates": self.pending_updates(),
            "pending_security_updates": self.pending_security(),
            "kept_back": self.pending.kept_back,
            "phase": self.update.phase.as_str(),
            "target": self.update.target,
            "from_version": self.update.from_version,
            "to_version": self.update.to_version,
            "attempt_count": self.update.attempt_count,
            "last_error": self.update.last_error,
            "current_job": self.current_job(),
            "progress": self.progress.percent,
            "queue_length": self.queue_length,
            "reboot_required": !self.reboot_reasons.is_empty(),
            "reboot_reasons": self.reboot_reasons,
            "scheduled_reboot": self.scheduled_reboot(),
            "scheduled_shutdown": self.shutdown,
            "reboot_waits": self.reboot_waits,
            "outdated_services": services::current_of(&Paths::default(), &self.outdated_services),
        })
    }
}

/// The latest picture, taken again when one of the files behind it has changed.
pub struct Pictures {
    paths: Paths,
    latest: Mutex<Option<(Stamps, Arc<Picture>)>>,
}

/// When the files behind a picture have changed.
#[derive(PartialEq, Eq)]
struct Stamps {
    records: Vec<Stamp>,
    progress: Stamp,
    database: Vec<Stamp>,
}

/// What of a file tells that it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl Pictures {
    /// No picture is taken yet.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        Self {
            paths,
            latest: Mutex::new(None),
        }
    }

    /// The picture as of now. While a job runs, its progress comes often: that is no reason to read
    /// everything again, and as long as it comes, what the package manager is changing says nothing yet.
    #[must_use]
    pub fn current(&self) -> Arc<Picture> {
        let mut stamps = self.stamps();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let picture = match &*latest {
            Some((known, picture)) if *known == stamps => return Arc::clone(picture),
            Some((known, picture))
                if known.records == stamps.records
                    && known.progress != stamps.progress
                    && !picture.running.is_empty() =>
            {
                // a job whose progress has stopped is looked at closely
                stamps.database.clone_from(&known.database);
                Picture {
                    progress: Progress::of(&self.paths, &picture.running),
                    ..Picture::clone(picture)
                }
            }
            _ => Picture::take(&self.paths),
        };
        let picture = Arc::new(picture);
        *latest = Some((stamps, Arc::clone(&picture)));
        picture
    }

    fn stamps(&self) -> Stamps {
        Stamps {
            records: self.files().iter().map(|path| stamp(path)).collect(),
            progress: stamp(&self.paths.progress()),
            database: package::DATABASES
                .map(|path| stamp(&self.paths.host(path)))
                .to_vec(),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let paths = &self.paths;
        // the records themselves, too: somebody else may write one in place
        let records = [
            "alerts.json",
            "blocked.json",
            "cache.json",
            "reboot.json",
            "running.json",
            "update.json",
            "updates.json",
        ];
        let mut files = vec![paths.state(), paths.queue()];
        files.extend(records.iter().map(|name| paths.state().join(name)));
        let others = [
            "/run/reboot-required",
            "/run/reboot-required.pkgs",
            shutdown::SCHEDULED,
            "/run/linux_patch_api/services.json",
            "/run/linux_patch_api/reboot-taken-back.json",
            "/run/reboot-needed",
            services::MANAGER_SOCKET,
            "/run/systemd/transient/patch-reboot.timer",
            "/boot",
            "/usr/lib/modules",
            "/usr/lib/linux_patch_api/config.d",
            "/etc/linux_patch_api/config.toml",
            "/etc/linux_patch_api/config.d",
            "/run/linux_patch_api/config.d",
        ];
        files.extend(others.iter().map(|path| paths.host(path)));
        files
    }
}

fn stamp(path: &Path) -> Stamp {
    std::fs::metadata(path).map_or(Stamp(0, 0, 0, 0), |m| {
        Stamp(m.ino(), m.size(), m.mtime(), m.mtime_nsec())
    })
}
