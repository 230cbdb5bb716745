//! Whose script a process runs, as its command line tells.

use crate::exec::ProcessInfo;

/// A maintainer script, or the like of it, that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The package it belongs to, where that can be told.
    pub package: Option<String>,
    /// Its path, or its name.
    pub name: String,
}

impl Script {
    /// The first word of the command line that begins with one of these directories, as it is.
    #[must_use]
    pub fn below(process: &ProcessInfo, directories: &[&str]) -> Option<Self> {
        let is_below = |word: &&String| directories.iter().any(|above| word.starts_with(above));
        let name = process.arguments.iter().find(is_below)?.clone();
        Some(Self {
            package: None,
            name,
        })
    }
}
