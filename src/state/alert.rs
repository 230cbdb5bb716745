//! `state/alerts.json`: what the administrator should know, raised once for each cause and resolved by a success.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fs::{Lock, ensure_directory, write_atomically};
use crate::host::clock;
use crate::paths::Paths;
use crate::request::JobId;

/// The latest events, kept for hooks and clients that have not received them yet.
const EVENTS_KEPT: usize = 64;

/// How long one writer of this file may keep the others waiting: one write takes milliseconds.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// What an alert is about. Its word is the stable key in every interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The last refresh of the index failed.
    RefreshFailing,
    /// The last update failed.
    UpdateFailed,
    /// The last update failed, and the host is as it was before.
    RolledBack,
    /// The update of this very program failed.
    SelfUpdateFailed,
    /// A job's preconditions no longer hold, and the administrator has to decide.
    ConflictWaiting,
    /// The package database is not in order.
    DatabaseInterrupted,
    /// The package manager reports nothing for too long while packages change.
    UpdateStuck,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 7] = [
        Self::RefreshFailing,
        Self::UpdateFailed,
        Self::RolledBack,
        Self::SelfUpdateFailed,
        Self::ConflictWaiting,
        Self::DatabaseInterrupted,
        Self::UpdateStuck,
    ];

    /// The key that stands for it in every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RefreshFailing => "refresh-failing",
            Self::UpdateFailed => "update-failed",
            Self::RolledBack => "rolled-back",
            Self::SelfUpdateFailed => "self-update-failed",
            Self::ConflictWaiting => "conflict-waiting",
            Self::DatabaseInterrupted => "database-interrupted",
            Self::UpdateStuck => "update-stuck",
        }
    }

    /// Whether the administrator may acknowledge it: it is about something that is over. The others reflect the
    /// present state of the host and clear by themselves.
    #[must_use]
    pub fn can_be_acknowledged(self) -> bool {
        matches!(
            self,
            Self::UpdateFailed | Self::RolledBack | Self::SelfUpdateFailed
        )
    }
}

impl FromStr for Cause {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|cause| cause.as_str() == text) {
            Some(cause) => Ok(cause),
            None => bail!("{} is not an alert", crate::request::shown(text)),
        }
    }
}

/// An alert that stands. Keys of other versions of this program are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is about.
    pub key: String,
    /// One sentence.
    pub text: String,
    /// Since when it stands.
    pub since: DateTime<Utc>,
    /// The job it comes from, if it comes from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
}

/// An alert was raised or resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertEvent {
    /// Its place among all events of this host.
    pub number: u64,
    /// Whether it was raised; else it was resolved.
    pub raised: bool,
    /// The alert.
    pub alert: Alert,
    /// What systemd reported about the worker whose death it was raised for, as `MONITOR_…` (systemd.exec(5)).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub monitor: BTreeMap<String, String>,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// Those that stand, in the order in which they were raised.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// The latest events, oldest first.
    #[serde(default)]
    pub events: Vec<AlertEvent>,
    /// The last event of each key for which the hooks have run.
    #[serde(default)]
    pub hooked: BTreeMap<String, u64>,
    /// What a newer version of this program has added.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Alerts {
    /// Reads the file; one that is missing or not usable reads as no alert.
    #[must_use]
    pub fn load(paths: &Paths) -> Self {
        super::read(&path(paths)).unwrap_or_default()
    }

    /// Reads the file as root does, who may change it: one that is not usable is put aside, and not said
    /// again at every look.
    #[must_use]
    pub fn load_to_change(paths: &Paths) -> Self {
        super::try_read(&path(paths)).map_or_else(
            |_| {
                let put_aside = Self::change(paths, |alerts| alerts.clone());
                put_aside.unwrap_or_default()
            },
            Option::unwrap_or_default,
        )
    }

    /// Changes the file, durably; the one way to write it, since workers, hooks and the service manager's
    /// `OnFailure=` do so.
    pub fn change<T>(paths: &Paths, change: impl FnOnce(&mut Self) -> T) -> Result<T> {
        let _lock = lock(paths)?;
        let before: Self = super::read_to_change(&path(paths)).unwrap_or_default();
        let mut alerts = before.clone();
        let answer = change(&mut alerts);
        if alerts != before {
            write_atomically(&path(paths), &serde_json::to_vec(&alerts)?, 0o644)?;
        }
        Ok(answer)
    }

    /// The alert of this cause, if it stands.
    #[must_use]
    pub fn standing(&self, cause: Cause) -> Option<&Alert> {
        self.alerts.iter().find(|a| a.key == cause.as_str())
    }

    /// Raises the alert; the event, unless it stands already: then only its words are the latest.
    pub fn raise(&mut self, cause: Cause, text: &str, job: Option<&JobId>) -> Option<AlertEvent> {
        let text = text.to_owned();
        if let Some(alert) = self.alerts.iter_mut().find(|a| a.key == cause.as_str()) {
            alert.text = text;
            alert.job = job.cloned();
            return None;
        }
        let alert = Alert {
            key: cause.as_str().to_owned(),
            text,
            since: clock::now(),
            job: job.cloned(),
        };
        self.alerts.push(alert.clone());
        Some(self.happened(true, alert))
    }

    /// Raises the alert because a worker has died, as systemd tells it.
    pub fn raise_death(
        &mut self,
        cause: Cause,
        text: &str,
        monitor: &BTreeMap<String, String>,
    ) -> Option<AlertEvent> {
        self.raise(cause, text, None)?;
        let event = self.events.last_mut()?;
        event.monitor.clone_from(monitor);
        Some(event.clone())
    }

    /// Resolves the alert; the event, if it stood.
    pub fn resolve(&mut self, cause: Cause) -> Option<AlertEvent> {
        let position = self.alerts.iter().position(|a| a.key == cause.as_str())?;
        let alert = self.alerts.remove(position);
        Some(self.happened(false, alert))
    }

    /// The oldest event of this cause for which the hooks have not run.
    #[must_use]
    pub fn unhooked(&self, cause: Cause) -> Option<&AlertEvent> {
        let told = self.hooked.get(cause.as_str()).copied().unwrap_or(0);
        let of_cause = |event: &&AlertEvent| event.alert.key == cause.as_str();
        let mut events = self.events.iter().filter(of_cause);
        events.find(|event| event.number > told)
    }

    fn happened(&mut self, raised: bool, alert: Alert) -> AlertEvent {
        let last = self.events.last().map_or(0, |event| event.number);
        let event = AlertEvent {
            number: last + 1,
            raised,
            alert,
            monitor: BTreeMap::new(),
        };
        self.events.push(event.clone());
        let surplus = self.events.len().saturating_sub(EVENTS_KEPT);
        self.events.drain(..surplus);
        event
    }
}

fn lock(paths: &Paths) -> Result<Lock> {
    ensure_directory(&paths.run(), 0o755)?;
    let file = paths.run().join("alerts.lock");
    let mut left = LOCK_LIMIT;
    loop {
        if let Some(lock) = Lock::try_take(&file)? {
            return Ok(lock);
        }
        if left.is_zero() {
            bail!("another process has been writing the alerts for too long");
        }
        thread::sleep(LOCK_INTERVAL);
        left = left.saturating_sub(LOCK_INTERVAL);
    }
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("alerts.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_raised_once_and_resolved_once() {
        let mut alerts = Alerts::default();
        let raised = alerts.raise(Cause::UpdateFailed, "a", None).unwrap();
        assert!(raised.raised && raised.number == 1);
        assert_eq!(alerts.raise(Cause::UpdateFailed, "b", None), None);
        let standing = alerts.standing(Cause::UpdateFailed).unwrap();
        assert_eq!((&*standing.text, standing.since), ("b", raised.alert.since));
        assert!(alerts.raise(Cause::RefreshFailing, "c", None).is_some());
        let resolved = alerts.resolve(Cause::UpdateFailed).unwrap();
        assert!(!resolved.raised && resolved.number == 3);
        assert_eq!(alerts.resolve(Cause::UpdateFailed), None);
        assert_eq!(alerts.alerts.len(), 1);
    }

    #[test]
    fn hooks_are_told_of_every_event_of_their_cause_in_order() {
        let mut alerts = Alerts::default();
        alerts.raise(Cause::UpdateFailed, "a", None);
        alerts.raise(Cause::RefreshFailing, "b", None);
        alerts.resolve(Cause::UpdateFailed);
        let mut told = Vec::new();
        while let Some(event) = alerts.unhooked(Cause::UpdateFailed).cloned() {
            alerts.hooked.insert(event.alert.key.clone(), event.number);
            told.push(event.raised);
        }
        assert_eq!(told, [true, false]);
        assert!(alerts.unhooked(Cause::RefreshFailing).is_some());
    }

    #[test]
    fn events_are_numbered_on_when_the_oldest_are_forgotten() {
        let mut alerts = Alerts::default();
        for _ in 0..EVENTS_KEPT {
            alerts.raise(Cause::UpdateFailed, "a", None);
            alerts.resolve(Cause::UpdateFailed);
        }
        assert_eq!(alerts.events.len(), EVENTS_KEPT);
        assert_eq!(alerts.events.last().unwrap().number, 128);
    }

    #[test]
    fn the_file_of_another_version_is_read_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        std::fs::create_dir_all(paths.state()).unwrap();
        let text = r#"{"alerts":[{"key":"later","text":"x","since":"2026-01-02T03:04:05Z","more":1}],"later":[2]}"#;
        std::fs::write(path(&paths), text).unwrap();
        Alerts::change(&paths, |alerts| alerts.raise(Cause::RolledBack, "y", None)).unwrap();
        let alerts = Alerts::load(&paths);
        assert_eq!(alerts.other["later"], serde_json::json!([2]));
        let keys: Vec<String> = alerts.alerts.into_iter().map(|a| a.key).collect();
        assert_eq!(keys, ["later", "rolled-back"]);
    }

    #[test]
    fn keys_are_told_by_their_words() {
        for cause in Cause::ALL {
            assert_eq!(cause.as_str().parse::<Cause>().unwrap(), cause);
        }
        assert!("all".parse::<Cause>().is_err());
    }
}
