//! A transaction of a package manager: what it is to do, what it reports, how it ended.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use super::{KeptBack, PackageId, Source, Update};

/// What a running transaction reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A line of the package manager's or a maintainer script's output.
    Output(String),
    /// It fetches packages.
    Downloading {
        /// 0 to 100.
        percent: u32,
    },
    /// It changes packages.
    Installing {
        /// 0 to 100.
        percent: u32,
        /// What it is doing, in its words.
        action: String,
    },
    /// It waits for another package manager, here described.
    Waiting(String),
}

impl Report {
    /// What the package manager says that it is doing, if it says that.
    #[must_use]
    pub fn action(&self) -> Option<&str> {
        match self {
            Self::Installing { action, .. } => Some(action),
            _ => None,
        }
    }
}

/// Receives the reports of a running refresh or transaction, and may request a stop.
pub trait Observer {
    /// Takes a report.
    fn report(&mut self, report: Report);

    /// Whether a stop is requested that may still be followed. Called after every report and at least once a second, so
    /// that an observer also notices silence.
    fn stop(&mut self) -> bool;
}

/// Ignores reports and requests no stop: for runs that only read.
#[derive(Debug)]
pub(super) struct IgnoreReports;

impl Observer for IgnoreReports {
    fn report(&mut self, _: Report) {}

    fn stop(&mut self) -> bool {
        false
    }
}

/// How a transaction ended in the words of its package manager; what it did is read from the package database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionEnd {
    /// It reports success.
    Done,
    /// It could not fetch something: a refresh may help. Its own words.
    FetchFailed(String),
    /// It failed in another way. Its own words.
    Failed(String),
    /// It was killed, or a program that it had started: the database may have to be repaired. Its own
    /// words.
    Interrupted(String),
    /// It was stopped before it changed anything.
    Stopped,
}

impl TransactionEnd {
    /// Whether a run that changes nothing ran to its end; an error when it failed.
    pub(super) fn came_to_its_end(self, tool: &str) -> Result<bool> {
        match self {
            Self::Done => Ok(true),
            Self::Stopped => Ok(false),
            Self::FetchFailed(why) | Self::Failed(why) | Self::Interrupted(why) => {
                bail!("{tool}: {why}")
            }
        }
    }
}

/// A transaction that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionReport {
    /// How.
    pub ended: TransactionEnd,
    /// What it left as it is, when it was to install everything.
    pub kept_back: Vec<KeptBack>,
    /// What an administrator should know: configuration files that were not merged, …
    pub notes: Vec<String>,
    /// Packages that have their new version and in which something failed all the same, such as a
    /// scriptlet, with the package manager's words; for those whose database does not remember it.
    pub failures: Vec<(PackageId, String)>,
    /// Whether it reported that a package did not get a file because another package owned it: if that one gave the
    /// file up in the same transaction, the file is missing.
    pub displaced: bool,
    /// Whether it was interrupted, so that its output is lost.
    pub interrupted: bool,
}

/// What a transaction is to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Whatever is due when it starts; the gate is told what that is.
    Everything,
    /// Exactly these.
    Exactly(Vec<Update>),
}

/// What a transaction installs, and the files it uses.
#[derive(Debug, Clone)]
pub struct Transaction<'a> {
    /// What to install.
    pub selection: &'a Selection,
    /// Sources whose last refresh failed: nothing is taken from their old indexes.
    pub failed: &'a [&'a Source],
    /// The file its output is appended to.
    pub log: &'a Path,
    /// The program and its arguments that get the change list before the first file changes; its exit code decides
    /// whether the transaction may begin.
    pub gate: (&'a Path, &'a [String]),
}

/// The refusal of a package manager that updates everything or nothing to update a part.
#[derive(Debug)]
pub struct AllOrNothing(
    /// Why it refuses, in a sentence.
    pub &'static str,
);

impl fmt::Display for AllOrNothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for AllOrNothing {}
