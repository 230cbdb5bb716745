//! The package script that a process runs, from its command line.

use crate::exec::ProcessInfo;

/// A running maintainer script or scriptlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The package it belongs to, where that is known.
    pub package: Option<String>,
    /// Its path, or its name.
    pub name: String,
}

impl Script {
    /// The script named by the first word of the command line below one of these directories.
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
