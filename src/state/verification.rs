//! What the record of a job says of its verification, and of its being undone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::package::Change;

/// What a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// The package database: versions and states.
    Database,
    /// The units of the host.
    Unit,
    /// A program in `verify.d`.
    Hook,
    /// This program itself, in its new version.
    Agent,
}

impl CheckKind {
    /// The word that stands for it in every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Unit => "unit",
            Self::Hook => "hook",
            Self::Agent => "agent",
        }
    }
}

/// One thing that was looked at after a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The unit, the program, the part of the database.
    pub name: String,
    /// What it is.
    pub kind: CheckKind,
    /// Whether it decides; otherwise it only warns.
    pub required: bool,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What it said.
    pub message: String,
}

impl Check {
    /// Whether the update has failed because of it.
    #[must_use]
    pub fn decides_against(&self) -> bool {
        self.required && !self.passed
    }
}

/// How undoing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undone {
    /// Every package has its former version again.
    RolledBack,
    /// Not all of them have.
    Failed,
    /// It was not tried, because a former version was nowhere to be had.
    Impossible,
    /// It was not tried, because the configuration says so.
    Disabled,
}

impl Undone {
    /// The word that stands for it in every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Impossible => "impossible",
            Self::Disabled => "disabled",
        }
    }
}

/// A package that a rollback has left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stayed {
    /// The package's name.
    pub package: String,
    /// Its architecture.
    pub architecture: String,
    /// The version that it has; none when it is not installed.
    pub version: Option<String>,
    /// Why, in one phrase.
    pub reason: String,
}

/// A package whose files were not all as its package file has them when its former version had come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFiles {
    /// The package's name.
    pub package: String,
    /// Its architecture.
    pub architecture: String,
    /// The version that came back.
    pub version: String,
    /// Files that were missing, or no longer counted as its own; at most [`NAMED_FILES`] of them.
    pub missing: Vec<String>,
    /// Files that have other contents, which a script of the package itself may have given them; at most as many.
    pub differing: Vec<String>,
    /// Whether it was installed once more because of that.
    pub reinstalled: bool,
    /// Files that are still missing; at most as many.
    pub still_missing: Vec<String>,
    /// Why its files could not be looked at.
    pub unknown: Option<String>,
}

/// A file in `/etc` that is not as it was before the update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differing {
    /// Where it is, or was.
    pub path: String,
    /// In what it differs.
    pub what: Difference,
}

/// In what a file is not as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It has other contents, leads elsewhere, or is of another type.
    Changed,
    /// It has another owner, group or mode, and the same contents.
    Attributes,
    /// It is there no more.
    Gone,
    /// It was not there.
    New,
}

impl Difference {
    /// The words for it in a sentence.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Attributes => "other owner or mode",
            Self::Gone => "gone",
            Self::New => "new",
        }
    }
}

/// How many files in `/etc` are named: a record has to fit into an answer of a front end.
pub const NAMED_IN_ETC: usize = 2000;

/// How many files of a package are named.
pub const NAMED_FILES: usize = 100;

impl Stayed {
    /// That it stays installed, in words; none where only its configuration is left.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let version = self.version.as_ref()?;
        Some(format!(
            "{} stays at {version}: {}",
            self.package, self.reason
        ))
    }
}

impl Rollback {
    /// Whether a package has stayed as the update left it.
    #[must_use]
    pub fn has_left(&self, change: &Change) -> bool {
        let mut stayed = self.stayed.iter();
        stayed.any(|s| {
            s.version.is_some()
                && (&s.package, &s.architecture) == (&change.package, &change.architecture)
        })
    }

    /// What has stayed, in words; none when everything is back.
    #[must_use]
    pub fn what_stayed(&self) -> Option<String> {
        let words: Vec<String> = self.stayed.iter().filter_map(Stayed::words).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// How an update was undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Where each former version came from, by `package:architecture`.
    pub sources: BTreeMap<String, String>,
    /// How it ended.
    pub outcome: Undone,
    /// Whether the host is as it was before the update in all of `compared`.
    pub as_before: bool,
    /// What was compared with the host before the update: `versions`, `states`, `files` (of the packages that
    /// came back), `marks` (of packages that are there for others), `units`, `etc`.
    #[serde(default)]
    pub compared: Vec<String>,
    /// What came of that, in a sentence; empty when nothing went back.
    #[serde(default)]
    pub summary: String,
    /// The files in `/etc` that are not as they were; at most [`NAMED_IN_ETC`] of them.
    #[serde(default)]
    pub etc: Vec<Differing>,
    /// What could not go back, and stays as the update left it.
    #[serde(default)]
    pub stayed: Vec<Stayed>,
    /// What was looked at after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verification: Vec<Check>,
    /// What went wrong with it.
    pub error: Option<String>,
    /// The tool below the package manager that put former versions back, because that could not.
    #[serde(default)]
    pub tool: Option<String>,
    /// The packages whose files were not as their package files have them.
    #[serde(default)]
    pub files: Vec<PackageFiles>,
}
