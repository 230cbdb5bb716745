//! The whole picture of the host, read from the records; read again only when they have changed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::deferred::Deferred;
use super::facts::facts;
use super::{access, inquire};
use crate::config::{self, Config};
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
use crate::state::reboot;
use crate::state::services::{self, Outdated};
use crate::state::shutdown::{self, Shutdown};
use crate::state::update::UpdateState;
use crate::{queue, state};

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
    /// Whether that is what is pending now: index, package database and configuration have not changed since.
    pub is_counted: bool,
    /// What these are now, as far as this door can see.
    pub fingerprint: String,
    /// Since when the security updates of packages have been kept back.
    pub kept_since: BTreeMap<String, DateTime<Utc>>,
    /// Since when something is pending.
    pub since: Since,
    /// The security updates that a rollback by hand keeps back, a sentence for each rollback.
    pub taken_back: Vec<String>,
    /// What keeps the doors from knowing how the host is, or from being asked, a sentence each.
    pub blind: Vec<String>,
    /// Whether the jobs in a worker's hands were interrupted there, and are not finished yet.
    pub is_interrupted: bool,
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
    /// The jobs that were put off, the oldest first; ten at most.
    pub deferred: Vec<Deferred>,
    /// How many jobs are in conflict.
    pub conflicts: usize,
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
        let cache = Cache::load(paths);
        let list = PendingList::load(paths);
        let fingerprint = packages.as_ref().map_or_else(
            |_| String::new(),
            |packages| packages.fingerprint(&cache.failed_sources()),
        );
        // a host that has no list yet has no old one either
        let is_counted = packages.is_err() || list.as_ref().is_none_or(|l| l.is_for(&fingerprint));
        let PendingList {
            pending,
            kept_since,
            ..
        } = list.unwrap_or_default();
        let records = records(paths);
        let lacking = access::lacking(paths, &records);
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
            "job {job} was interrupted ({phase}), and what is left of it is not finished yet; \
             'systemctl status patch-recover.service' says how far that is"
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
            "progress": self.progress.percent,
            "action": self.progress.action,
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

/// How long a look at the files behind a picture holds for the properties that are read one after the other, as
/// `GetAll` does with all of them.
const LOOK_HOLDS: Duration = Duration::from_millis(2);

/// How long what the stamps cannot show of the index and the configuration, such as a list that was edited in
/// place, is taken to be as it was.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The latest picture, taken again when one of the files behind it has changed.
pub struct Pictures {
    paths: Paths,
    latest: Mutex<Option<Latest>>,
    /// What is wrong with the units that wake us, as it was last seen.
    units: Mutex<Vec<String>>,
    /// The turns of those who find that something has changed: the first has the new picture taken for all.
    turn: zruntime::lock::Mutex<()>,
}

#[derive(Clone)]
struct Latest {
    stamps: Arc<Stamps>,
    picture: Arc<Picture>,
    /// When the files were last found to be as they were.
    looked: Option<Instant>,
    /// When index, package database and configuration were last looked at as a whole.
    looked_whole: Option<Instant>,
}

/// When the files behind a picture have changed.
#[derive(Clone, PartialEq, Eq)]
struct Stamps {
    records: Vec<Stamp>,
    directories: Vec<Access>,
    progress: Stamp,
    database: Vec<Stamp>,
    units: Vec<String>,
    fingerprint: String,
}

/// What of a file tells that it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64, i64, i64);

/// What of a directory tells who may use it: its number, owner, group and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Access(u64, u32, u32, u32);

impl Pictures {
    /// No picture is taken yet.
    #[must_use]
    pub fn new(paths: Paths) -> Self {
        Self {
            paths,
            latest: Mutex::new(None),
            units: Mutex::default(),
            turn: zruntime::lock::Mutex::new(()),
        }
    }

    /// What was seen of the units that wake us: a sentence for each that is not as it has to be.
    pub fn set_units(&self, wrong: Vec<String>) {
        *self.units.lock().unwrap_or_else(PoisonError::into_inner) = wrong;
        self.look_again();
    }

    /// As [`current`](Self::current), with everything looked at again.
    pub async fn looked_at(&self) -> Arc<Picture> {
        if let Some(latest) = &mut *self.latest() {
            latest.looked_whole = None;
        }
        self.current().await
    }

    /// The picture as of now. It is taken in another thread, once for all who wait for it.
    pub async fn current(&self) -> Arc<Picture> {
        if let Some(known) = self.known(true) {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(false) {
            return known;
        }
        let (paths, units, before) = (self.paths.clone(), self.units(), self.latest().clone());
        let latest = zruntime::unblock(move || Latest::after(&paths, units, before)).await;
        let picture = Arc::clone(&latest.picture);
        *self.latest() = Some(latest);
        picture
    }

    /// Has the next caller look at the files, however short a time ago that was done.
    pub fn look_again(&self) {
        if let Some(latest) = &mut *self.latest() {
            latest.looked = None;
        }
    }

    /// The latest picture, if it still holds; `just_now` is enough where that was looked at a moment ago.
    fn known(&self, just_now: bool) -> Option<Arc<Picture>> {
        let units = self.units();
        let mut latest = self.latest();
        let known = latest.as_mut()?;
        if !is_within(known.looked_whole, LOOK_AGAIN) {
            return None;
        }
        if !(just_now && is_within(known.looked, LOOK_HOLDS)) {
            let fingerprint = known.stamps.fingerprint.clone();
            if *known.stamps != Stamps::of(&self.paths, units, fingerprint) {
                return None;
            }
            known.looked = Some(Instant::now());
        }
        Some(Arc::clone(&known.picture))
    }

    fn units(&self) -> Vec<String> {
        let units = self.units.lock();
        units.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn latest(&self) -> MutexGuard<'_, Option<Latest>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_within(since: Option<Instant>, limit: Duration) -> bool {
    since.is_some_and(|since| since.elapsed() < limit)
}

impl Latest {
    /// The picture after `before`. While a job runs, its progress comes often: that is no reason to read
    /// everything again, and as long as it comes, what the package manager is changing says nothing yet.
    fn after(paths: &Paths, units: Vec<String>, before: Option<Self>) -> Self {
        let known = before
            .as_ref()
            .filter(|b| is_within(b.looked_whole, LOOK_AGAIN));
        let (fingerprint, looked_whole) = match known {
            Some(known) => (known.stamps.fingerprint.clone(), known.looked_whole),
            None => (
                inquire::fingerprint(paths).unwrap_or_default(),
                Some(Instant::now()),
            ),
        };
        let mut stamps = Stamps::of(paths, units, fingerprint);
        let picture = match before {
            Some(before) if *before.stamps == stamps => before.picture,
            Some(before) if before.is_further(&stamps) => {
                // a job whose progress has stopped is looked at closely
                stamps.database.clone_from(&before.stamps.database);
                stamps.fingerprint.clone_from(&before.stamps.fingerprint);
                Arc::new(Picture {
                    progress: Progress::of(paths, &before.picture.running),
                    ..Picture::clone(&before.picture)
                })
            }
            _ => {
                let mut picture = Picture::take(paths);
                picture.blind.extend_from_slice(&stamps.units);
                Arc::new(picture)
            }
        };
        Self {
            stamps: Arc::new(stamps),
            picture,
            looked: None,
            looked_whole,
        }
    }

    /// Whether nothing but the progress of a running job and what it changes is another than here.
    fn is_further(&self, now: &Stamps) -> bool {
        self.stamps.records == now.records
            && self.stamps.directories == now.directories
            && self.stamps.units == now.units
            && self.stamps.progress != now.progress
            && !self.picture.running.is_empty()
    }
}

impl Stamps {
    fn of(paths: &Paths, units: Vec<String>, fingerprint: String) -> Self {
        Self {
            records: files(paths).iter().map(|path| stamp(path)).collect(),
            directories: directories(paths).map(|path| access(&path)).to_vec(),
            progress: stamp(&paths.progress()),
            database: package::database_files()
                .map(|path| stamp(&paths.host(path)))
                .collect(),
            units,
            fingerprint,
        }
    }
}

/// The directories of which a picture says only whether they can be used. What lies in them is no part of it: every
/// caller who asks for a plan has entries come and go there.
fn directories(paths: &Paths) -> [PathBuf; 6] {
    [
        paths.jobs(),
        paths.tmp(),
        paths.conflicts(),
        paths.deferred(),
        paths.inquiries(),
        paths.keys(),
    ]
}

/// The files behind a picture.
fn files(paths: &Paths) -> Vec<PathBuf> {
    let mut files = vec![paths.state(), paths.queue()];
    // the records themselves, too: another program may write one in place
    files.extend(records(paths));
    let others = [
        "/run/reboot-required",
        "/run/reboot-required.pkgs",
        shutdown::SCHEDULED,
        "/run/linux_patch_api/services.json",
        "/run/linux_patch_api/at-work",
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
    // a fragment that is edited in place leaves its directory as it was
    files.extend(config::fragments(paths).unwrap_or_default());
    files
}

/// The records that a picture is made of.
fn records(paths: &Paths) -> Vec<PathBuf> {
    let names = [
        "alerts.json",
        "blocked.json",
        "cache.json",
        "reboot.json",
        "running.json",
        "update.json",
        "updates.json",
    ];
    names.map(|name| paths.state().join(name)).to_vec()
}

fn access(path: &Path) -> Access {
    std::fs::metadata(path).map_or(Access(0, 0, 0, 0), |m| {
        Access(m.ino(), m.uid(), m.gid(), m.mode())
    })
}

fn stamp(path: &Path) -> Stamp {
    // the change of the inode tells another owner or mode
    std::fs::metadata(path).map_or(Stamp(0, 0, 0, 0, 0, 0), |m| {
        let (modified, changed) = ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()));
        Stamp(
            m.ino(),
            m.size(),
            modified.0,
            modified.1,
            changed.0,
            changed.1,
        )
    })
}
