//! apt on this host, as the other parts use it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use super::index::Index;
use super::settings::Settings;
use super::{acquire, arguments};
use crate::package::Source;

/// apt on this host.
#[derive(Debug)]
pub struct Apt {
    settings: OnceLock<Settings>,
    /// Where dpkg's database lies.
    pub(super) dpkg: PathBuf,
    pub(super) index: Index,
    /// Where a view of the lists without the failed sources may be laid out.
    scratch: PathBuf,
}

impl Apt {
    /// apt, with a private directory for temporary files.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        Self {
            settings: OnceLock::new(),
            dpkg: "/var/lib/dpkg".into(),
            index: Index::default(),
            scratch: scratch.into(),
        }
    }

    /// How the administrator has configured apt.
    pub(super) fn settings(&self) -> &Settings {
        self.settings.get_or_init(Settings::ask)
    }

    /// Where apt keeps its lists.
    pub(super) fn lists(&self) -> PathBuf {
        let asked = self.settings.get().cloned();
        asked.unwrap_or_else(Settings::of_places).lists()
    }

    /// The options that hide the indexes of failed sources: a directory of links to all others.
    pub(super) fn lists_without(&self, failed: &[&Source]) -> Result<Vec<OsString>> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.scratch.join("apt-lists");
        let lay_out = || -> io::Result<()> {
            if view.exists() {
                fs::remove_dir_all(&view)?;
            }
            fs::create_dir_all(view.join("partial"))?;
            for entry in fs::read_dir(self.lists())? {
                let entry = entry?;
                let name = entry.file_name();
                let text = name.to_string_lossy();
                let is_failed = failed
                    .iter()
                    .any(|source| acquire::is_of(&source.file, &text));
                if entry.file_type()?.is_file() && !is_failed {
                    std::os::unix::fs::symlink(entry.path(), view.join(&name))?;
                }
            }
            Ok(())
        };
        lay_out().context("failed to lay out the indexes of the good sources")?;
        Ok(arguments::other_lists(&view))
    }
}
