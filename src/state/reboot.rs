//! `state/reboot.json`: a reboot that a worker asks for, and what the host says of reboots.

use std::fs;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{remove_durably, write_atomically};
use crate::host::{clock, kernel};
use crate::package::{PackageManager, TakenBack};
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

    /// The same for a process that writes it: an unusable file is moved aside.
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

    /// Whether this was written in the boot that is now: one of an earlier boot is done. A sandboxed service of
    /// a container may see the boot of the kernel instead of its own, so that the note beside it counts, too.
    #[must_use]
    pub fn is_of_this_boot(&self, paths: &Paths) -> bool {
        let noted = || fs::read_to_string(note(paths)).unwrap_or_default();
        self.boot_id == clock::boot_id() || (!self.boot_id.is_empty() && self.boot_id == noted())
    }

    /// Writes the file, durably.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        if let Err(error) = write_atomically(&note(paths), self.boot_id.as_bytes(), 0o644) {
            tracing::debug!(
                "a service that sees another boot takes the reboot for done: {error:#}"
            );
        }
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
    let is_due = reboot.is_of_this_boot(paths);
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
    let mut reasons = packages.map_or_else(Vec::new, |packages| {
        packages.reboot_reasons(&taken_back(paths))
    });
    if let Some(newer) = kernel::newer_installed(paths) {
        let running = kernel::running();
        reasons.push(format!(
            "the kernel {newer} is installed, but {running} is running"
        ));
    }
    reasons.extend(super::services::reboot_reasons(paths));
    reasons
}

/// The reasons that were taken back since this host was started.
#[must_use]
pub fn taken_back(paths: &Paths) -> TakenBack {
    super::read(&taken_back_file(paths)).unwrap_or_default()
}

/// Takes back these reasons, because what had been replaced is back.
pub fn take_back(paths: &Paths, reasons: &[String]) -> Result<()> {
    let mut all = taken_back(paths);
    let now = clock::now().timestamp();
    all.extend(reasons.iter().map(|reason| (reason.clone(), now)));
    write_atomically(&taken_back_file(paths), &serde_json::to_vec(&all)?, 0o644)
}

/// Gone with the boot, as the reasons are.
fn taken_back_file(paths: &Paths) -> std::path::PathBuf {
    paths.run().join("reboot-taken-back.json")
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("reboot.json")
}

/// In which boot the file was written; gone with that boot.
fn note(paths: &Paths) -> std::path::PathBuf {
    paths.run().join("reboot-boot")
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
    fn a_reboot_belongs_to_the_boot_in_which_it_was_written_whoever_looks() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        fs::create_dir_all(paths.state()).unwrap();
        fs::create_dir_all(paths.run()).unwrap();
        let reboot = Reboot {
            job: None,
            reasons: Vec::new(),
            delay: 0,
            boot_id: "what the worker sees".into(),
            at: None,
            planned: None,
            waits: Some("a backup".into()),
        };
        reboot.save(&paths).unwrap();
        assert_eq!(waits(&paths).as_deref(), Some("a backup"));
        // what a boot clears
        fs::remove_dir_all(paths.run()).unwrap();
        assert_eq!(waits(&paths), None);
        assert!(!reboot.is_of_this_boot(&paths));
    }

    #[test]
    fn a_record_of_an_older_version_is_read() {
        let text =
            r#"{"job":null,"reasons":["x"],"delay":5,"boot_id":"b","at":"2026-01-02T03:04:05Z"}"#;
        let reboot: Reboot = serde_json::from_str(text).unwrap();
        assert!(reboot.at.is_some() && reboot.planned.is_none() && reboot.waits.is_none());
    }
}
