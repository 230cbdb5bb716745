//! Where the former version of a change can be had from, and what a rollback is given.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Change, PackageId};
use crate::checksum;

/// A package file in the package store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPackage {
    /// The package's name.
    pub package: String,
    /// Its architecture.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// Where the file lies.
    pub file: PathBuf,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was kept.
    pub kept_at: DateTime<Utc>,
    /// The build that the package database shows once it is installed (see [`Installed::build`]), where that
    /// was looked at.
    ///
    /// [`Installed::build`]: super::Installed::build
    #[serde(default)]
    pub build: Option<String>,
    /// What a newer version of this program has added.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl StoredPackage {
    /// The package and architecture.
    #[must_use]
    pub fn key(&self) -> PackageId {
        PackageId::new(&self.package, &self.architecture)
    }
}

/// The source of a former version, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum RollbackSource {
    /// A file in the package store.
    #[serde(rename = "kept")]
    Stored {
        /// The file.
        file: PathBuf,
        /// Its SHA-256.
        sha256: String,
    },
    /// A file of the package manager's cache.
    Cached {
        /// The file.
        file: PathBuf,
        /// Its SHA-256.
        sha256: String,
    },
    /// The package manager's index still lists it: it is fetched again, and checked by the package
    /// manager as any other download.
    Archive,
    /// A file that was made of what is installed.
    Repacked {
        /// The file.
        file: PathBuf,
        /// Its SHA-256.
        sha256: String,
    },
    /// The package was newly installed, and the rollback removes it.
    #[serde(rename = "new")]
    NewlyInstalled,
    /// The former version is still installed beside the new one, as that of a kernel is: the rollback removes the new
    /// one.
    #[serde(rename = "beside")]
    Installonly,
    /// There is no source.
    #[serde(rename = "missing")]
    Unavailable {
        /// Why, in one phrase.
        why: String,
    },
}

impl RollbackSource {
    /// The word that stands for it in the records.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stored { .. } => "kept",
            Self::Cached { .. } => "cached",
            Self::Archive => "archive",
            Self::Repacked { .. } => "repacked",
            Self::NewlyInstalled => "new",
            Self::Installonly => "beside",
            Self::Unavailable { .. } => "missing",
        }
    }

    /// The package file, where there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Stored { file, .. } | Self::Cached { file, .. } | Self::Repacked { file, .. } => {
                Some(file)
            }
            Self::Archive | Self::NewlyInstalled | Self::Installonly | Self::Unavailable { .. } => {
                None
            }
        }
    }

    /// The sum of the package file, where there is one.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        match self {
            Self::Stored { sha256, .. }
            | Self::Cached { sha256, .. }
            | Self::Repacked { sha256, .. } => Some(sha256),
            Self::Archive | Self::NewlyInstalled | Self::Installonly | Self::Unavailable { .. } => {
                None
            }
        }
    }

    /// The source with its file at another place.
    #[must_use]
    pub fn moved(self, to: PathBuf) -> Self {
        match self {
            Self::Stored { sha256, .. } => Self::Stored { file: to, sha256 },
            Self::Cached { sha256, .. } => Self::Cached { file: to, sha256 },
            Self::Repacked { sha256, .. } => Self::Repacked { file: to, sha256 },
            other => other,
        }
    }
}

/// A change, and where the version that it replaces could be had from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackItem {
    /// The change.
    pub change: Change,
    /// Where its former version comes from.
    #[serde(flatten)]
    pub source: RollbackSource,
}

impl RollbackItem {
    /// The change that undoes it.
    #[must_use]
    pub fn undone(&self) -> Change {
        Change {
            file: self.source.file().map(Path::to_owned),
            ..self.change.undone()
        }
    }

    /// The record of a package that stays as the update left it.
    #[must_use]
    pub fn stays(&self) -> Option<(PackageId, &str)> {
        match &self.source {
            RollbackSource::Unavailable { why } => Some((self.change.key(), why)),
            _ => None,
        }
    }

    /// An error when it cannot be undone: there is no source, or the file is not the one that was stored.
    pub fn check(&self) -> Result<()> {
        let (package, version) = (
            self.change.former_key(),
            self.change.from.as_deref().unwrap_or_default(),
        );
        match &self.source {
            RollbackSource::Unavailable { why } => {
                anyhow::bail!("{package} {version} is no longer available: {why}")
            }
            RollbackSource::Archive
            | RollbackSource::NewlyInstalled
            | RollbackSource::Installonly => Ok(()),
            RollbackSource::Stored { file, sha256 }
            | RollbackSource::Cached { file, sha256 }
            | RollbackSource::Repacked { file, sha256 } => {
                let actual = checksum::sha256_of_file(file)?;
                ensure!(
                    actual == *sha256,
                    "'{}' is not the file that was put aside for {package} {version}: its SHA-256 is {actual}, not {sha256}",
                    file.display(),
                );
                Ok(())
            }
        }
    }
}

/// The stored file of the former version, if it exists.
#[must_use]
pub fn stored(change: &Change, kept: &[StoredPackage]) -> Option<RollbackSource> {
    let kept = known(change, kept).find(|kept| kept.file.exists())?;
    Some(RollbackSource::Stored {
        file: kept.file.clone(),
        sha256: kept.sha256.clone(),
    })
}

/// A file of the former version in the package manager's cache. If the package store has the checksum of that version,
/// a file with another one is not used.
#[must_use]
pub fn cached(change: &Change, kept: &[StoredPackage], file: &Path) -> Option<RollbackSource> {
    // the cache has the new one of two builds of a version
    if change.rebuilt.is_some() && change.file.as_deref() == Some(file) {
        return None;
    }
    let sha256 = checksum::sha256_of_file(file).ok()?;
    let other = known(change, kept).any(|kept| kept.sha256 != sha256);
    (!other).then(|| RollbackSource::Cached {
        file: file.to_owned(),
        sha256,
    })
}

/// The stored packages without other builds of a former version than the one that `is_it` accepts, where several builds
/// are stored.
#[must_use]
pub fn of_build(
    kept: &[StoredPackage],
    changes: &[Change],
    mut is_it: impl FnMut(&Change, &StoredPackage) -> bool,
) -> Vec<StoredPackage> {
    let stays = |one: &&StoredPackage| {
        let of = |change: &&Change| {
            change.former_key() == one.key() && change.from.as_ref() == Some(&one.version)
        };
        changes.iter().find(of).is_none_or(|change| {
            let others = known(change, kept).count() > 1 || change.rebuilt.is_some();
            !others || is_it(change, one)
        })
    };
    kept.iter().filter(stays).cloned().collect()
}

/// The entries of the former version in the package store, whether or not their files still exist.
fn known<'a>(
    change: &Change,
    kept: &'a [StoredPackage],
) -> impl Iterator<Item = &'a StoredPackage> {
    let (key, version) = (change.former_key(), change.from.clone());
    kept.iter()
        .filter(move |kept| kept.key() == key && Some(&kept.version) == version.as_ref())
}

/// What a rollback undoes, and the files it uses.
#[derive(Debug, Clone)]
pub struct Restore<'a> {
    /// The changes to undo.
    pub former: &'a [RollbackItem],
    /// The file the output is appended to.
    pub log: &'a Path,
    /// The program and its arguments that get the change list before the first file changes; its exit code decides
    /// whether the rollback may begin.
    pub gate: (&'a Path, &'a [String]),
    /// Where the gate puts package files that the rollback fetches.
    pub store: &'a Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn former(source: RollbackSource) -> RollbackItem {
        RollbackItem {
            change: Change {
                package: "demo".into(),
                architecture: "all".into(),
                from: Some("1".into()),
                to: Some("2".into()),
                file: None,
                ..Change::default()
            },
            source,
        }
    }

    #[test]
    fn a_file_in_the_cache_with_another_sum_than_the_known_one_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("demo_1_all.deb");
        std::fs::write(&file, "demo").unwrap();
        let change = former(RollbackSource::Archive).change;
        let known = |version: &str, sha256: String| StoredPackage {
            package: "demo".into(),
            architecture: "all".into(),
            version: version.into(),
            file: PathBuf::new(),
            sha256,
            size: 4,
            kept_at: Utc::now(),
            other: serde_json::Map::new(),
            ..StoredPackage::default()
        };
        assert!(stored(&change, &[known("1", String::new())]).is_none());
        assert!(cached(&change, &[], &file).is_some());
        assert!(cached(&change, &[known("1", checksum::sha256(b"demo"))], &file).is_some());
        assert!(cached(&change, &[known("0", "x".into())], &file).is_some());
        assert!(cached(&change, &[known("1", "x".into())], &file).is_none());
        assert!(cached(&change, &[], &directory.path().join("none")).is_none());
    }

    #[test]
    fn of_several_builds_the_one_that_was_there_comes_back() {
        let kept = |package: &str, version: &str, build: &str| StoredPackage {
            package: package.into(),
            architecture: "all".into(),
            version: version.into(),
            build: Some(build.into()),
            ..StoredPackage::default()
        };
        let all = [
            kept("demo", "1", "x"),
            kept("demo", "1", "y"),
            kept("demo", "0", "z"),
            kept("other", "1", "z"),
        ];
        let change = former(RollbackSource::Archive).change;
        let is_it = |_: &Change, kept: &StoredPackage| kept.build.as_deref() == Some("y");
        let left = |change: &Change, kept: &[StoredPackage]| -> Vec<String> {
            let left = of_build(kept, std::slice::from_ref(change), is_it);
            left.into_iter().filter_map(|kept| kept.build).collect()
        };
        assert_eq!(left(&change, &all), ["y", "z", "z"]);
        assert_eq!(left(&change, &all[..1]), ["x"], "there is no other");
        let rebuilt = Change {
            rebuilt: Some(super::super::Rebuilt::default()),
            ..change
        };
        assert!(left(&rebuilt, &all[..1]).is_empty(), "it is another build");
    }

    #[test]
    fn a_file_is_used_only_when_it_is_the_one_that_was_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("demo.deb");
        std::fs::write(&file, "demo").unwrap();
        let sha256 = checksum::sha256(b"demo");
        let kept = former(RollbackSource::Stored {
            file: file.clone(),
            sha256,
        });
        kept.check().unwrap();
        assert_eq!(kept.undone().to.as_deref(), Some("1"));
        std::fs::write(&file, "Demo").unwrap();
        let error = kept.check().unwrap_err().to_string();
        assert!(error.contains("demo:all 1"), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(kept.check().is_err());
        former(RollbackSource::Archive).check().unwrap();
        let why = "x".to_owned();
        assert!(former(RollbackSource::Unavailable { why }).check().is_err());
    }

    #[test]
    fn a_record_names_the_source() {
        let text = serde_json::to_value(former(RollbackSource::Archive)).unwrap();
        assert_eq!(text["source"], "archive");
        assert_eq!(text["change"]["from"], "1");
        let read: RollbackItem = serde_json::from_value(text).unwrap();
        assert_eq!(read, former(RollbackSource::Archive));
    }
}
