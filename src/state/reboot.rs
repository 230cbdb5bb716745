//! `state/reboot.json`: a reboot that a worker asks for, and what the host says of reboots.

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{remove_durably, write_atomically};
use crate::host::{clock, kernel};
use crate::package::PackageManager;
use crate::paths::Paths;
use crate::request::JobId;

/// A transient timer of ours, on a host without logind.
pub const TIMER: &str = "patch-reboot.timer";

/// A reboot that is to be asked for, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// The job after which it is; none when a person asked for it.
    #[serde(default)]
    pub job: Option<JobId>,
    /// Why.
    pub reasons: Vec<String>,
    /// How many seconds after it was asked for.
    pub delay: u64,
    /// In which boot this was written: after another one it is done.
    pub boot_id: String,
    /// For when it is scheduled; none while it is still to be asked for.
    #[serde(default)]
    pub at: Option<DateTime<Utc>>,
    /// For when it was asked, written down before it is; kept while it has to wait.
    #[serde(default)]
    pub planned: Option<DateTime<Utc>>,
    /// What it waits for, in a sentence; none while nothing is in its way.
    #[serde(default)]
    pub waits: Option<String>,
}

/// How much notice those who are logged in get at most of a reboot that is overdue because it had to wait:
/// they were told of it before.
const NOTICE: u64 = 60;

impl Reboot {
    /// Reads the file, if there is one.
    #[must_use]
    pub fn load(paths: &Paths) -> Option<Self> {
        super::read(&path(paths))
    }

    /// The same for whoever may write it: one that is not usable is put aside.
    #[must_use]
    pub fn load_to_change(paths: &Paths) -> Option<Self> {
        super::read_to_change(&path(paths))
    }

    /// When it is to be: as planned, or soon where that is over, or after its delay: pure.
    #[must_use]
    pub fn time(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let after = |seconds: u64| now + TimeDelta::seconds(i64::try_from(seconds).unwrap_or(0));
        match self.planned {
            Some(planned) if planned > now => planned,
            Some(_) => after(self.delay.min(NOTICE)),
            None => after(self.delay),
        }
    }

    /// Writes the file, durably.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&path(paths), &serde_json::to_vec(self)?, 0o644)
    }

    /// Removes the file.
    pub fn remove(paths: &Paths) -> Result<()> {
        remove_durably(&path(paths))
    }
}

/// What is in the way of a reboot that was asked for, in a sentence; none when nothing is, or none is due.
#[must_use]
pub fn waits(paths: &Paths) -> Option<String> {
    let reboot = Reboot::load(paths).filter(|reboot| reboot.at.is_none())?;
    let is_due = reboot.boot_id == clock::boot_id();
    reboot.waits.filter(|_| is_due)
}

/// What a job's record says of the reboot after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// Why.
    pub reasons: Vec<String>,
    /// How many seconds after the end of the job it is asked for, at the earliest.
    pub delay_seconds: u64,
}

/// Why this host should be rebooted, one reason each: what the package manager left, and a kernel that
/// is installed and does not run. (apt itself says nothing of kernels; `/run/reboot-required` is written
/// by hooks of packages that need not be there.)
#[must_use]
pub fn reasons(paths: &Paths, packages: Option<&dyn PackageManager>) -> Vec<String> {
    let mut reasons = packages.map_or_else(Vec::new, PackageManager::reboot_reasons);
    if let Some(newer) = kernel::newer_installed(paths) {
        let running = kernel::running();
        reasons.push(format!("the kernel {newer} is installed, {running} runs"));
    }
    reasons.extend(super::services::reboot_reasons(paths));
    reasons
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("reboot.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_that_had_to_wait_keeps_its_time_or_follows_soon() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let ahead = |seconds: i64| now + TimeDelta::seconds(seconds);
        let reboot = |planned: Option<i64>, delay: u64| Reboot {
            job: None,
            reasons: Vec::new(),
            delay,
            boot_id: String::new(),
            at: None,
            planned: planned.map(ahead),
            waits: None,
        };
        for (planned, delay, expected) in [
            (None, 300, 300),
            (None, 0, 0),
            (Some(200), 300, 200),
            (Some(-5), 300, 60),
            (Some(-5), 7200, 60),
            (Some(-5), 0, 0),
        ] {
            let time = reboot(planned, delay).time(now);
            assert_eq!(time, ahead(expected), "{planned:?} {delay}");
        }
    }

    #[test]
    fn a_record_of_an_older_version_is_read() {
        let text =
            r#"{"job":null,"reasons":["x"],"delay":5,"boot_id":"b","at":"2026-01-02T03:04:05Z"}"#;
        let reboot: Reboot = serde_json::from_str(text).unwrap();
        assert!(reboot.at.is_some() && reboot.planned.is_none() && reboot.waits.is_none());
    }
}
