//! apk on this host, as the other parts use it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::arguments::{self, Arguments};
use super::{database, locks};
use crate::package::{Database, Observer};

/// Our cache: what a refresh has confirmed, and what is fetched before the first file changes.
pub const CACHE: &str = "/var/cache/linux_patch_api/apk";

/// apk on this host.
#[derive(Debug)]
pub struct Apk {
    pub(super) apk: Arguments,
    pub(super) database: PathBuf,
}

impl Apk {
    /// apk, by its path.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        let apk = Arguments {
            program: program.to_owned(),
            cache: CACHE.into(),
        };
        Self {
            apk,
            database: arguments::database(),
        }
    }

    /// The package database.
    pub(super) fn read_database(&self) -> Result<Database> {
        database::read(&self.database)
    }

    /// Waits until no other apk works: takes the lock that every apk holds while it works, and gives it back.
    pub(super) fn wait(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait(&self.database.with_file_name("lock"), observer)
    }
}
