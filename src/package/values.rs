//! The values that package managers and the rest of the program exchange.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::KeptBack;

/// One package in one architecture: what a package database has at most one version of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId {
    /// The package's name.
    pub package: String,
    /// Its architecture, such as `amd64`; `all` where it has none.
    pub architecture: String,
}

impl PackageId {
    /// The id of a package by its name, in this architecture.
    #[must_use]
    pub fn new(package: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            package: package.into(),
            architecture: architecture.into(),
        }
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.package, self.architecture)
    }
}

/// One thing that is wrong with a package database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The package concerned; none when the whole database is.
    pub package: Option<String>,
    /// A sentence for people.
    pub text: String,
}

impl Problem {
    /// A problem of one package.
    #[must_use]
    pub fn of(package: &str, text: String) -> Self {
        Self {
            package: Some(package.to_owned()),
            text,
        }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self {
            package: None,
            text,
        }
    }
}

/// The sentences of problems.
#[must_use]
pub fn sentences(problems: Vec<Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.text).collect()
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
    /// The installed version; none for a new dependency.
    pub installed: Option<String>,
    /// The version that an apply would install.
    pub candidate: String,
    /// What distinguishes the candidate from the installed build, where only the build is new and the index shows it
    /// (see [`Installed::build`]).
    #[serde(default)]
    pub build: Option<String>,
    /// Where the candidate comes from, in the package manager's words.
    pub origin: String,
    /// Whether the candidate comes from a security source.
    pub security: bool,
    /// The bytes of its package file, where the package manager says how many.
    #[serde(default)]
    pub size: Option<u64>,
    /// Since when this candidate has been pending on this host.
    #[serde(default)]
    pub first_seen: Option<DateTime<Utc>>,
    /// The advisories that ask for it, as their repository names them (see `rpm::advisories`).
    #[serde(default)]
    pub advisories: Vec<String>,
}

impl Update {
    /// The package and architecture.
    #[must_use]
    pub fn key(&self) -> PackageId {
        PackageId::new(&self.package, &self.architecture)
    }

    /// Whether it brings another build of the installed version, and nothing else.
    #[must_use]
    pub fn is_rebuilt(&self) -> bool {
        self.installed.as_ref() == Some(&self.candidate) && self.former_architecture.is_none()
    }

    /// With the version and the architecture of the installed package that it replaces, if there is one.
    #[must_use]
    pub fn over(mut self, installed: Option<(&PackageId, &Installed)>) -> Self {
        let former = installed.map(|(key, _)| key.architecture.clone());
        self.former_architecture = former.filter(|former| *former != self.architecture);
        self.installed = installed.map(|(_, installed)| installed.version.clone());
        self
    }

    /// The package and the architecture that is installed, or would be if it were.
    #[must_use]
    pub fn former_key(&self) -> PackageId {
        former_key(
            &self.package,
            &self.architecture,
            self.former_architecture.as_ref(),
        )
    }
}

/// The package in its former architecture, which usually is the present one.
fn former_key(package: &str, architecture: &str, former: Option<&String>) -> PackageId {
    PackageId::new(package, former.map_or(architecture, String::as_str))
}

/// What an update run would do now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What would be installed.
    pub updates: Vec<Update>,
    /// What would stay, and why.
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
    /// The version before; none for a new package.
    pub from: Option<String>,
    /// The version after; none for a removal.
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
    pub fn key(&self) -> PackageId {
        PackageId::new(&self.package, &self.architecture)
    }

    /// The package and the architecture that it had before, or would have had.
    #[must_use]
    pub fn former_key(&self) -> PackageId {
        former_key(
            &self.package,
            &self.architecture,
            self.former_architecture.as_ref(),
        )
    }

    /// Whether the package database shows the state after the change, in order.
    #[must_use]
    pub fn is_made(&self, now: &Database) -> bool {
        let (key, former) = (self.key(), self.former_key());
        let is_gone = former == key || !now.contains_key(&former);
        is_gone
            && match (now.get(&key), &self.to) {
                (None, None) => true,
                (Some(installed), Some(to)) => {
                    installed.version == *to
                        && installed.state == PackageState::Good
                        && self.other_build(installed).is_none()
                }
                _ => false,
            }
    }

    /// Which other build than the new one is installed, where the change is between two builds and the database shows
    /// them.
    #[must_use]
    pub fn other_build(&self, installed: &Installed) -> Option<&'static str> {
        let (rebuilt, build) = (self.rebuilt.as_ref()?, installed.build.as_ref()?);
        if rebuilt.to.as_ref() == Some(build) {
            None
        } else if rebuilt.from.as_ref() == Some(build) {
            Some("still the former")
        } else {
            rebuilt.to.is_some().then_some("another")
        }
    }

    /// The size of its package file in bytes; 0 where there is none.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        let file = self.file.as_deref();
        file.and_then(|file| std::fs::metadata(file).ok())
            .map_or(0, |file| file.len())
    }

    /// The change that undoes this one, without its package file.
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
        let rebuilt = || Rebuilt {
            from: None,
            to: update.build.clone(),
        };
        Self {
            package: update.package.clone(),
            architecture: update.architecture.clone(),
            former_architecture: update.former_architecture.clone(),
            rebuilt: update.is_rebuilt().then(rebuilt),
            from: update.installed.clone(),
            to: Some(update.candidate.clone()),
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
    /// A checksum that distinguishes this build from another one of the same version, where the database has one.
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
pub type Database = BTreeMap<PackageId, Installed>;

/// The words for packages of every architecture: of dpkg, of rpm and apk, of pacman.
const EVERY_ARCHITECTURE: [&str; 3] = ["all", "noarch", "any"];

/// The installed package that one of this name and architecture replaces: the same, or the one of another architecture
/// where one of the two is for every architecture. Other architectures stay installed beside it.
#[must_use]
pub fn replaced<'a>(
    database: &'a Database,
    key: &PackageId,
) -> Option<(&'a PackageId, &'a Installed)> {
    let is_every = |key: &PackageId| EVERY_ARCHITECTURE.contains(&&*key.architecture);
    let first = PackageId::new(&key.package, "");
    let of_name = || {
        let from_there = database.range(&first..);
        from_there.take_while(|(other, _)| other.package == key.package)
    };
    let mut same = of_name().filter(|(other, _)| *other == key);
    let mut instead = of_name().filter(|(other, _)| is_every(key) || is_every(other));
    same.next().or_else(|| instead.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_every_architecture_takes_the_place_of_what_is_for_one() {
        let installed = |package: &str, architecture: &str| {
            (PackageId::new(package, architecture), Installed::default())
        };
        let database = Database::from([
            installed("a", "amd64"),
            installed("a", "i386"),
            installed("b", "noarch"),
            installed("bb", "all"),
        ]);
        let of = |package: &str, architecture: &str| {
            let found = replaced(&database, &PackageId::new(package, architecture));
            found.map_or_else(|| "none".to_owned(), |(key, _)| key.to_string())
        };
        assert_eq!(of("a", "i386"), "a:i386");
        assert_eq!(of("a", "all"), "a:amd64");
        assert_eq!(of("a", "arm64"), "none", "it is there beside them");
        assert_eq!(of("b", "x86_64"), "b:noarch");
        assert_eq!(of("c", "all"), "none");
    }

    #[test]
    fn a_change_of_architecture_is_made_when_the_former_one_is_gone() {
        let change = Change {
            package: "a".into(),
            architecture: "all".into(),
            former_architecture: Some("amd64".into()),
            from: Some("1".into()),
            to: Some("2".into()),
            ..Change::default()
        };
        let of = |architecture: &str, version: &str| {
            let installed = Installed {
                version: version.into(),
                ..Installed::default()
            };
            (PackageId::new("a", architecture), installed)
        };
        let [old, new] = [of("amd64", "1"), of("all", "2")];
        let is = |change: &Change, now: &[&(PackageId, Installed)]| {
            change.is_made(&now.iter().map(|entry| (*entry).clone()).collect())
        };
        assert!(is(&change, &[&new]) && is(&change.undone(), &[&old]));
        assert!(!is(&change, &[&old]) && !is(&change.undone(), &[&new]));
        assert!(!is(&change, &[&old, &new]) && !is(&change.undone(), &[&old, &new]));
    }
}
