//! What every step of a worker is given: the host's paths, its configuration and package manager, and whether the
//! worker is to stop.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::Config;
use crate::package::{self, PackageManager, Unusable};
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::job::Job;
use crate::state::stall::Stall;

/// How soon a worker that waits notices a stop.
pub const STOP_INTERVAL: Duration = Duration::from_millis(250);

/// For how long a drain that could not claim its requests tries again before it fails. The path unit restarts it at
/// once, so that this pause keeps a full disk from causing a busy loop.
pub const FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// Where a worker works, and with what.
pub struct Context {
    pub paths: Paths,
    pub config: Config,
    pub packages: Box<dyn PackageManager>,
    /// Set when the worker is to end as soon as that is safe.
    pub stop: Arc<AtomicBool>,
    /// The stalls so far.
    pub stalls: Stalls,
    /// Whether the death of the worker before is counted.
    pub crashes: CrashCounter,
    /// Whether it has searched for orphans.
    pub orphans: OrphanSearch,
    /// Whether the package manager's output is shown on standard error, besides being kept in its log.
    pub terminal: bool,
}

impl Context {
    /// The context of this host, with a directory for the package manager's temporary files. With an invalid
    /// configuration there is no package manager: every call of it gives that error.
    #[must_use]
    pub fn new(paths: Paths, stop: Arc<AtomicBool>, scratch: &Path) -> Self {
        let config = Config::load(&paths).context("the configuration is invalid");
        let usable = config.and_then(|config| {
            let packages = package::detect(&config, scratch)?;
            Ok((config, packages))
        });
        let (config, packages) = usable.unwrap_or_else(|error| {
            let none: Box<dyn PackageManager> = Box::new(Unusable(format!("{error:#}")));
            (Config::default(), none)
        });
        Self {
            paths,
            config,
            packages,
            stop,
            stalls: Stalls::default(),
            crashes: CrashCounter::default(),
            orphans: OrphanSearch::default(),
            terminal: false,
        }
    }

    /// Whether the worker is to end as soon as that is safe.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Whether a worker has searched for orphans: while it has the lock, no more can appear.
#[derive(Debug, Default)]
pub struct OrphanSearch(pub AtomicBool);

/// Whether a worker has counted the death of the one before: a worker that cannot go on tries again by itself.
#[derive(Debug, Default)]
pub struct CrashCounter(pub AtomicBool);

/// The stalls while this worker ran, for the records of the jobs that they held up.
#[derive(Debug, Default)]
pub struct Stalls(Mutex<BTreeMap<JobId, Vec<Stall>>>);

impl Stalls {
    /// Moves the stalls of a job that ends into its record.
    pub fn record(&self, job: &mut Job) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for stall in known.remove(job.id()).unwrap_or_default() {
            // the record may have it already, without its end
            job.stalls.retain(|other| other.since != stall.since);
            job.stalls.push(stall);
        }
    }

    pub fn add(&self, id: &JobId, stall: &Stall) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stalls = known.entry(id.clone()).or_default();
        stalls.retain(|other| other.since != stall.since);
        stalls.push(stall.clone());
    }
}
