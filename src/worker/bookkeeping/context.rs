//! What every step of a worker is given: the host's paths, its configuration and package manager, and whether the
//! worker is to stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::config::Config;
use crate::package::{self, PackageManager, Unusable};
use crate::paths::Paths;
use crate::worker::{deaths, orphans, stuck};

/// Where a worker works, and with what.
pub struct Context {
    pub paths: Paths,
    pub config: Config,
    pub packages: Box<dyn PackageManager>,
    /// Set when the worker is to end as soon as that is safe.
    pub stop: Arc<AtomicBool>,
    /// What hung meanwhile.
    pub hangs: stuck::Seen,
    /// Whether what it found of others is counted as their death.
    pub deaths: deaths::Counted,
    /// Whether it has looked for jobs that no worker has.
    pub orphans: orphans::Looked,
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
            hangs: stuck::Seen::default(),
            deaths: deaths::Counted::default(),
            orphans: orphans::Looked::default(),
            terminal: false,
        }
    }

    /// Whether the worker is to end as soon as that is safe.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
