//! `state/update.json`: the latest update and the phase it is in.

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::package::Change;
use crate::paths::Paths;

/// The phases of an update, and no others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No update was ever made.
    #[default]
    Idle,
    /// The index is refreshed and it is worked out what is to be done.
    Checking,
    /// Packages are fetched.
    Downloading,
    /// Everything is here, nothing is changed.
    Staged,
    /// The package manager changes packages.
    Activated,
    /// What it did is looked at.
    Verifying,
    /// The host is as it was meant to be.
    Success,
    /// The update went wrong and the host is as it was before.
    RolledBack,
    /// The update went wrong.
    Failed,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Checking,
        Self::Downloading,
        Self::Staged,
        Self::Activated,
        Self::Verifying,
        Self::Success,
        Self::RolledBack,
        Self::Failed,
    ];

    /// The word that stands for it in every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Checking => "checking",
            Self::Downloading => "downloading",
            Self::Staged => "staged",
            Self::Activated => "activated",
            Self::Verifying => "verifying",
            Self::Success => "success",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }

    /// Whether the update has come to its end.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::RolledBack | Self::Failed)
    }
}

/// An update. Other programs read these keys; unknown ones in the file are ignored, so that an older
/// version of this program reads what a newer one wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateState {
    /// The phase it is in.
    pub phase: Phase,
    /// The version before; of several packages how many they are, as `12 packages`: the job's record names each.
    pub from_version: Option<String>,
    /// The version after, in the same form.
    pub to_version: Option<String>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it last changed its phase.
    pub updated_at: Option<DateTime<Utc>>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How often this target was tried; starts again with another target and after a success.
    #[serde(default)]
    pub attempt_count: u32,
    /// What was asked for.
    #[serde(default)]
    pub target: Option<String>,
    /// When the latest update that succeeded did so; this one or one before it.
    #[serde(default)]
    pub last_success_at: Option<DateTime<Utc>>,
    /// While an update is staged ahead of a request: a checksum of its changes, by which another one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<String>,
}

impl UpdateState {
    /// The latest update of the host.
    #[must_use]
    pub fn load(paths: &Paths) -> Self {
        super::read(&path(paths)).unwrap_or_default()
    }

    /// The update of a job that is in a worker's hands since `started_at`: until that worker has begun one, the
    /// host's is that of a job before.
    #[must_use]
    pub fn of_job(paths: &Paths, started_at: Option<DateTime<Utc>>) -> Self {
        let latest = Self::load(paths);
        if latest.started_at < started_at {
            Self::default()
        } else {
            latest
        }
    }

    /// The same for a process that will write it: an unusable file is moved aside.
    #[must_use]
    pub fn load_to_change(paths: &Paths) -> Self {
        super::read_to_change(&path(paths)).unwrap_or_default()
    }

    /// Writes the file, durably and for everybody to read.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&path(paths), &serde_json::to_vec(self)?, 0o644)
    }

    /// A new update of `target` after this one.
    #[must_use]
    pub fn begin(&self, target: &str, now: DateTime<Utc>) -> Self {
        let again = self.target.as_deref() == Some(target) && self.phase != Phase::Success;
        Self {
            phase: Phase::Idle,
            started_at: Some(now),
            updated_at: Some(now),
            attempt_count: if again {
                self.attempt_count.saturating_add(1)
            } else {
                1
            },
            target: Some(target.to_owned()),
            last_success_at: self.last_success_at,
            ..Self::default()
        }
    }

    /// Records the versions that the update is about.
    pub fn set_versions(&mut self, changes: &[Change]) {
        let several = |version: &dyn Fn(&Change) -> Option<&String>| match changes {
            [] => None,
            [only] => version(only).cloned(),
            _ => Some(format!("{} packages", changes.len())),
        };
        self.from_version = several(&|change| change.from.as_ref());
        self.to_version = several(&|change| change.to.as_ref());
    }
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("update.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock;

    #[test]
    fn attempts_are_counted_for_each_target_until_it_succeeds() {
        let now = clock::now();
        let first = UpdateState::default().begin("nginx", now);
        assert_eq!(first.attempt_count, 1);
        let second = UpdateState {
            phase: Phase::Failed,
            ..first
        }
        .begin("nginx", now);
        assert_eq!(second.attempt_count, 2);
        assert_eq!(second.begin("all", now).attempt_count, 1);
        let done = UpdateState {
            phase: Phase::Success,
            ..second
        };
        assert_eq!(done.begin("nginx", now).attempt_count, 1);
    }

    #[test]
    fn one_package_has_its_versions_and_several_their_number() {
        let change = |from: Option<&str>, to: Option<&str>| Change {
            package: "a".into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
            ..Change::default()
        };
        let update = change(Some("1"), Some("2"));
        for (changes, from, to) in [
            (vec![], None, None),
            (vec![update.clone()], Some("1"), Some("2")),
            (vec![change(None, Some("2"))], None, Some("2")),
            (vec![change(Some("1"), None)], Some("1"), None),
            (
                vec![update.clone(); 2],
                Some("2 packages"),
                Some("2 packages"),
            ),
            (
                vec![update; 500],
                Some("500 packages"),
                Some("500 packages"),
            ),
        ] {
            let mut state = UpdateState::default();
            state.set_versions(&changes);
            assert_eq!(state.from_version.as_deref(), from, "{}", changes.len());
            assert_eq!(state.to_version.as_deref(), to, "{}", changes.len());
        }
    }

    #[test]
    fn a_file_of_a_newer_version_is_read() {
        let text = r#"{"phase":"rolled_back","from_version":"1","to_version":"2","started_at":null,
            "updated_at":null,"last_error":"x","attempt_count":3,"later":{"a":1}}"#;
        let state: UpdateState = serde_json::from_str(text).unwrap();
        assert_eq!(state.phase, Phase::RolledBack);
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
    }
}
