//! One trait over the package managers; what they know, as plain values.

pub mod apk;
pub mod apt;
mod climb;
pub mod command;
pub mod detect;
pub mod dnf;
mod former;
mod lock;
pub mod os_release;
pub mod pacman;
mod rpm;
mod script;
mod unusable;
pub mod zypper;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use former::{Former, FormerSource, Kept, Restore};
pub use script::Script;
pub use unusable::Unusable;

use crate::config::Config;
use command::Process;
use detect::Backend;

/// One package in one architecture: what a package database has at most one version of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The package's name.
    pub package: String,
    /// Its architecture, such as `amd64`; `all` where it has none.
    pub architecture: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.package, self.architecture)
    }
}

/// A pending update: a package and its candidate version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The package's name.
    pub package: String,
    /// Its architecture.
    pub architecture: String,
    /// The installed version; not there for a package that an update newly needs.
    pub installed: Option<String>,
    /// The version that an apply would install.
    pub candidate: String,
    /// Where the candidate comes from, in the package manager's words.
    pub origin: String,
    /// Whether the candidate comes from a security source.
    pub security: bool,
}

impl Update {
    /// The package and architecture.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            package: self.package.clone(),
            architecture: self.architecture.clone(),
        }
    }
}

/// A package that has a newer version which an apply will not install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBack {
    /// The package's name, with its architecture where it is a foreign one.
    pub package: String,
    /// Why, in one phrase.
    pub reason: String,
}

/// What an update run would do now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What would be installed.
    pub updates: Vec<Update>,
    /// What would not, and why.
    pub kept_back: Vec<KeptBack>,
}

/// One change of one package: as planned, as announced by the package manager, or as done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The package's name.
    pub package: String,
    /// Its architecture.
    pub architecture: String,
    /// The version before; not there for a new package.
    pub from: Option<String>,
    /// The version after; not there for a removal.
    pub to: Option<String>,
    /// The package file it comes from, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

impl Change {
    /// The package and architecture.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            package: self.package.clone(),
            architecture: self.architecture.clone(),
        }
    }
}

impl From<&Update> for Change {
    fn from(update: &Update) -> Self {
        Self {
            package: update.package.clone(),
            architecture: update.architecture.clone(),
            from: update.installed.clone(),
            to: Some(update.candidate.clone()),
            file: None,
        }
    }
}

/// What the package database says of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The version that is installed or half installed.
    pub version: String,
    /// Whether it is installed and configured; otherwise the state in the database's words.
    pub state: PackageState,
    /// Whether the administrator holds it at this version.
    pub held: bool,
}

/// Whether a package is in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageState {
    /// Installed and configured.
    Good,
    /// Anything between installed and removed, in the database's words.
    Broken(String),
}

/// Every package the database knows a version of.
pub type Database = BTreeMap<Key, Installed>;

/// One package source and what its last refresh brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its address, without credentials.
    pub uri: String,
    /// The release, suite or repository name at that address.
    pub suite: String,
    /// When its index was last confirmed.
    pub last_success: Option<DateTime<Utc>>,
    /// The date its index gives of itself; the newest one ever seen.
    pub index_date: Option<DateTime<Utc>>,
    /// What was wrong at the last attempt, in the package manager's words.
    pub error: Option<String>,
    /// Whether that is an index older than one seen before.
    #[serde(default)]
    pub went_back: bool,
    /// Whether the configuration tolerates that it fails.
    pub tolerated: bool,
    /// The name its index has among the package manager's files.
    pub file: String,
}

impl Source {
    /// Its host name, which `refresh.tolerate` lists.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self
            .uri
            .split_once("://")
            .map_or(self.uri.as_str(), |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or(rest);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        host.split(':').next().unwrap_or(host)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.uri, self.suite)
    }
}

/// What a refresh brought, source by source, and what was wrong with the run as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Every enabled source.
    pub sources: Vec<Source>,
    /// What failed and belongs to no single source.
    pub errors: Vec<String>,
    /// Whether every failure means that the network is away.
    pub offline: bool,
}

impl Refreshed {
    /// Offline when something failed, and everything that did for want of a network.
    fn of(sources: Vec<Source>, errors: Vec<String>, is_network: fn(&str) -> bool) -> Self {
        let mut failures = sources
            .iter()
            .filter_map(|source| source.error.as_ref())
            .chain(&errors)
            .peekable();
        let offline = failures.peek().is_some() && failures.all(|error| is_network(error));
        Self {
            sources,
            errors,
            offline,
        }
    }
}

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

/// Who listens to a running refresh or transaction, and may ask it to stop.
pub trait Observer {
    /// Something happened.
    fn report(&mut self, report: Report);

    /// Whether a stop is asked for that may still be followed. Asked after every report and once a second
    /// at least, so that a listener also learns that nothing was reported.
    fn stop(&mut self) -> bool;
}

/// How a transaction ended, as far as its package manager can be believed: what it did is read from
/// the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It says it is done.
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

impl Ended {
    /// Whether a run that changes nothing came to its end; an error when it could not.
    fn came_to_its_end(self, tool: &str) -> Result<bool> {
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
pub struct Applied {
    /// How.
    pub ended: Ended,
    /// What it left as it is, when it was to install everything.
    pub kept_back: Vec<KeptBack>,
    /// What an administrator should know: configuration files that were not merged, …
    pub notes: Vec<String>,
    /// Packages that have their new version and in which something failed all the same, such as a
    /// scriptlet, with the package manager's words; for those whose database does not remember it.
    pub failures: Vec<(Key, String)>,
}

/// What a transaction is to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Whatever is due when it starts; the gate is told what that is.
    Everything,
    /// Exactly these.
    Exactly(Vec<Update>),
}

/// What a transaction is to do and where it leaves its traces.
#[derive(Debug, Clone)]
pub struct Transaction<'a> {
    /// What to install.
    pub selection: &'a Selection,
    /// Sources whose last refresh failed: nothing is taken from their old indexes.
    pub failed: &'a [&'a Source],
    /// The file its output is appended to.
    pub log: &'a Path,
    /// The program, and its arguments, that is given the change list before the first file changes
    /// and may still refuse: its exit code decides.
    pub gate: (&'a Path, &'a [String]),
}

/// A package manager that changes everything or nothing was asked for a part.
#[derive(Debug)]
pub struct AllOrNothing(
    /// Why it refuses, in a sentence.
    pub &'static str,
);

impl std::fmt::Display for AllOrNothing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for AllOrNothing {}

/// A package manager. Everything but `refresh` and `apply` only reads, and works unprivileged.
pub trait PackageManager: Send + Sync {
    /// Its name, as `backend =` gives it.
    fn name(&self) -> &'static str;

    /// Fetches the index of every enabled source. An error is a failure to run at all; what failed
    /// about a source is in the answer.
    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed>;

    /// Fetches what an update of everything would install, at idle priority, and installs nothing; whether
    /// it came to its end. An error when this package manager cannot do that.
    fn download(&self, _failed: &[&Source], _observer: &mut dyn Observer) -> Result<bool> {
        bail!("{} cannot download ahead", self.name())
    }

    /// What an update of everything would do, without what comes from `failed` sources.
    fn pending(&self, failed: &[&Source]) -> Result<Pending>;

    /// Why nobody can tell which updates are for security, where the sources do not say it: a request for
    /// those alone is an error then, and not nothing to do. Only such a request asks.
    fn no_security(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// The exact changes that installing `updates` needs, newly needed packages included. What would
    /// need a removal is not among them, but among the kept back. The error is [`AllOrNothing`] where a
    /// part cannot be had.
    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending>;

    /// The package database.
    fn installed(&self) -> Result<Database>;

    /// What is wrong with the package database, one sentence each; empty when it is in order.
    fn problems(&self) -> Result<Vec<String>>;

    /// Whether everything that could be wrong with it can be seen by whoever asks. What the unprivileged
    /// doors cannot see, they have to be told by the worker.
    fn sees_problems(&self) -> bool {
        true
    }

    /// Whether somebody was killed while changing packages, so that nothing works any more before the
    /// database is repaired.
    fn is_interrupted(&self) -> Result<bool> {
        Ok(false)
    }

    /// Runs one transaction.
    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied>;

    /// Waits until nobody changes packages: a run that outlived the worker that started it may still
    /// be at work. An error when a stop was asked for first.
    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()>;

    /// Heals what an interrupted transaction with this change list left behind, if anything; what
    /// cannot be healed is named in the error. Output goes to the log. It is never stopped.
    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()>;

    /// The package's script that a process below a transaction runs, if it runs one: told by what the
    /// process says of itself.
    fn script(&self, _process: &Process) -> Option<Script> {
        None
    }

    /// Where the version that each change is about to replace could be had from: the packages we keep,
    /// the package manager's cache, its archive, a package made of the installed files. Asked before
    /// the first file changes, so it has to be quick; files that it makes go into `scratch`.
    fn former(&self, changes: &[Change], kept: &[Kept], scratch: &Path) -> Result<Vec<Former>>;

    /// Undoes changes in one transaction: exactly the former versions come back, what was newly
    /// installed goes, and nothing else is touched. Files are checked right before they are used. Once
    /// it has begun it cannot be stopped.
    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended>;

    /// Parses the change list that the package manager hands to the gate.
    fn change_list(&self, input: &mut dyn std::io::BufRead) -> Result<Vec<Change>>;

    /// Those package files of the list that were there before `since` and are not what the index
    /// says they are; they are removed, so that the next attempt fetches them.
    fn remove_damaged(&self, changes: &[Change], since: SystemTime) -> Result<Vec<String>>;

    /// How many bytes more than now the installed files need at most while these changes are made. By
    /// default four times the package files, which is what they are compressed to at least (measured).
    fn growth(&self, changes: &[Change]) -> Result<u64> {
        let files = changes.iter().filter_map(|change| change.file.as_deref());
        let sizes = files.filter_map(|file| Some(std::fs::metadata(file).ok()?.len()));
        Ok(sizes.sum::<u64>().saturating_mul(4))
    }

    /// Why the host should be rebooted, one reason each; empty when it need not.
    fn reboot_reasons(&self) -> Vec<String>;

    /// A text that changes whenever the index, the package database or the `failed` sources do.
    fn fingerprint(&self, failed: &[&Source]) -> String;
}

/// The files that change whenever a package database does, of every package manager: the database itself,
/// its journal, a lock that may be left behind. None of them changes when it is only read.
pub const DATABASES: [&str; 11] = [
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/updates",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/pacman",
    "/var/lib/pacman/local",
    "/lib/apk/db",
];

/// The package manager of this host: the configured one, or that of its distribution.
pub fn detect(config: &Config, scratch: &Path) -> Result<Box<dyn PackageManager>> {
    let facts = detect::Facts::gather();
    Ok(match detect::choose(config.backend.as_deref(), &facts)? {
        Backend::Apt => Box::new(apt::Apt::new(scratch)),
        Backend::Pacman => Box::new(pacman::Pacman::new(scratch)),
        Backend::Dnf => Box::new(dnf::Dnf::new(dnf::Dialect::Dnf4, scratch)),
        Backend::Dnf5 => Box::new(dnf::Dnf::new(dnf::Dialect::Dnf5, scratch)),
        Backend::Zypper => Box::new(zypper::Zypper),
        Backend::Yum => Box::new(dnf::Dnf::new(dnf::Dialect::Yum, scratch)),
        Backend::Apk => {
            let program = facts.tools.get("apk").map(PathBuf::as_path);
            Box::new(apk::Apk::new(program.unwrap_or(Path::new("/sbin/apk"))))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_source_is_found() {
        let host = |uri: &str| {
            let source = Source {
                uri: uri.to_owned(),
                suite: "stable".to_owned(),
                last_success: None,
                index_date: None,
                error: None,
                went_back: false,
                tolerated: false,
                file: String::new(),
            };
            source.host().to_owned()
        };
        assert_eq!(
            host("http://packages.example.org/debian/"),
            "packages.example.org"
        );
        assert_eq!(
            host("https://user:pw@packages.example.org:8080/x"),
            "packages.example.org"
        );
        assert_eq!(host("file:/srv/repo/"), "file");
    }
}
