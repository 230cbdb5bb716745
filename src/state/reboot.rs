//! `state/reboot.json`: a reboot that a worker asks for, and what the host says of reboots.

use std::fs;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{remove_durably, write_atomically};
use crate::host::kernel;
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
    /// For when it was asked; none while it is still to be asked for.
    #[serde(default)]
    pub at: Option<DateTime<Utc>>,
}

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

    /// Writes the file, durably.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&path(paths), &serde_json::to_vec(self)?, 0o644)
    }

    /// Removes the file.
    pub fn remove(paths: &Paths) -> Result<()> {
        remove_durably(&path(paths))
    }
}

/// What a job's record says of the reboot after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// Why.
    pub reasons: Vec<String>,
    /// How many seconds after the end of the job it is asked for, at the earliest.
    pub delay_seconds: u64,
}

/// For when a reboot of this host is scheduled, whoever asked for it: logind keeps that in a file that is
/// for everybody to read, and takes it away when the reboot is cancelled.
#[must_use]
pub fn scheduled(paths: &Paths) -> Option<DateTime<Utc>> {
    let text = fs::read_to_string(paths.host(SCHEDULED)).unwrap_or_default();
    let by_logind = parse(&text);
    let by_timer = || {
        let timer = paths.host(&format!("/run/systemd/transient/{TIMER}"));
        Reboot::load(paths)?.at.filter(|_| timer.exists())
    };
    by_logind.or_else(by_timer)
}

/// Logind's file.
pub const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";

fn parse(text: &str) -> Option<DateTime<Utc>> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let reboots = value("MODE=").is_some_and(|mode| ["reboot", "kexec"].contains(&mode));
    let usec = value("USEC=")?.parse().ok()?;
    DateTime::from_timestamp_micros(usec).filter(|_| reboots)
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
    fn logind_says_for_when_a_reboot_is_scheduled() {
        let at = parse("USEC=1700000000000000\nWARN_WALL=1\nMODE=reboot\n").unwrap();
        assert_eq!(at.timestamp(), 1_700_000_000);
        assert_eq!(parse("USEC=1700000000000000\nMODE=poweroff\n"), None);
        assert_eq!(parse(""), None);
    }
}
