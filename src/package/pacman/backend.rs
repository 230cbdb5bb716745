//! pacman on this host, as the other parts use it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Result;

use super::conf::{self, Conf};
use super::database_sync::Tree;
use super::gate::Gate;

/// The path of our tree of databases. It is durable, because which of them were live matters after a power cut.
const TREE: &str = "/var/lib/linux_patch_api/pacman";

/// pacman on this host.
#[derive(Debug)]
pub struct Pacman {
    pub(super) tree: Tree,
    pub(super) gate: Gate,
    conf: Mutex<Option<Conf>>,
}

impl Pacman {
    /// pacman, with a private directory for volatile files.
    #[must_use]
    pub fn new(scratch: &Path) -> Self {
        Self {
            tree: Tree::new(TREE),
            gate: Gate::below(scratch),
            conf: Mutex::default(),
        }
    }

    /// The configuration as it is now.
    pub(super) fn read_conf(&self) -> Result<Conf> {
        let conf = Conf::read()?;
        self.remember(conf.clone());
        Ok(conf)
    }

    /// Writes a plain configuration, for a host whose own cannot be read.
    pub(super) fn plain_configuration(&self) -> Result<PathBuf> {
        self.gate.write("plain.conf", conf::PLAIN)
    }

    /// Goes by this configuration from now on.
    pub(super) fn remember(&self, conf: Conf) {
        if let Ok(mut known) = self.conf.lock() {
            *known = Some(conf);
        }
    }

    /// The configuration as it was at the last refresh, which is the beginning of every work here.
    pub(super) fn conf(&self) -> Result<Conf> {
        let known = self.conf.lock().ok().and_then(|known| known.clone());
        known.map_or_else(|| self.read_conf(), Ok)
    }
}
