//! What package managers know, as plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::KeptBack;

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The package's name.
    pub package: String,
    /// The candidate's architecture.
    pub architecture: String,
    /// The architecture that is installed, where the candidate has another one.
    #[serde(default)]
    pub former_architecture: Option<String>,
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

    /// The package and the architecture that is installed, or would be if it were.
    #[must_use]
    pub fn former_key(&self) -> Key {
        former_key(
            &self.package,
            &self.architecture,
            self.former_architecture.as_ref(),
        )
    }
}

/// The package in the architecture that it had, which most often is the one that it has.
fn former_key(package: &str, architecture: &str, former: Option<&String>) -> Key {
    Key {
        package: package.to_owned(),
        architecture: former.map_or(architecture, String::as_str).to_owned(),
    }
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
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// The package's name.
    pub package: String,
    /// Its architecture; that before for a removal.
    pub architecture: String,
    /// The architecture before, where it is another one: one change, and not a removal and a new package.
    #[serde(default)]
    pub former_architecture: Option<String>,
    /// The version before; not there for a new package.
    pub from: Option<String>,
    /// The version after; not there for a removal.
    pub to: Option<String>,
    /// The two builds, where version and architecture before and after are the same.
    #[serde(default)]
    pub rebuilt: Option<Rebuilt>,
    /// The package file it comes from, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// Two builds of one version, each by the checksum that the package database tells it by (see
/// [`Installed::build`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rebuilt {
    /// The build before, where it is known.
    pub from: Option<String>,
    /// The build after, where it is known.
    pub to: Option<String>,
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

    /// The package and the architecture that it had before, or would have had.
    #[must_use]
    pub fn former_key(&self) -> Key {
        former_key(
            &self.package,
            &self.architecture,
            self.former_architecture.as_ref(),
        )
    }

    /// The change that undoes this one; where its file lies is for others to say.
    #[must_use]
    pub fn undone(&self) -> Self {
        let rebuilt = self.rebuilt.clone().map(|builds| Rebuilt {
            from: builds.to,
            to: builds.from,
        });
        Self {
            package: self.package.clone(),
            architecture: self.former_key().architecture,
            former_architecture: self
                .former_architecture
                .is_some()
                .then(|| self.architecture.clone()),
            from: self.to.clone(),
            to: self.from.clone(),
            rebuilt,
            file: None,
        }
    }
}

impl From<&Update> for Change {
    fn from(update: &Update) -> Self {
        let candidate = Some(update.candidate.clone());
        let is_same = update.installed == candidate && update.former_architecture.is_none();
        Self {
            package: update.package.clone(),
            architecture: update.architecture.clone(),
            former_architecture: update.former_architecture.clone(),
            rebuilt: is_same.then(Rebuilt::default),
            from: update.installed.clone(),
            to: candidate,
            file: None,
        }
    }
}

/// What the package database says of one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// The version that is installed or half installed.
    pub version: String,
    /// Whether it is installed and configured; otherwise the state in the database's words.
    pub state: PackageState,
    /// Whether the administrator holds it at this version.
    pub held: bool,
    /// What tells this build from another one of the same version, where the database says so at once: a
    /// checksum.
    pub build: Option<String>,
}

/// Whether a package is in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PackageState {
    /// Installed and configured.
    #[default]
    Good,
    /// Anything between installed and removed, in the database's words.
    Broken(String),
}

/// How many bytes a package takes before and after a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// In its new version.
    pub new: u64,
    /// In the version before; 0 where it is new, or where that is not known.
    pub old: u64,
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
    pub(super) fn of(
        sources: Vec<Source>,
        errors: Vec<String>,
        is_network: fn(&str) -> bool,
    ) -> Self {
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
