//! Which shutdown of this host is scheduled, and whether it is one of ours.

use std::fs;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::reboot::{Reboot, TIMER};
use crate::paths::Paths;

/// Where logind keeps what is scheduled, for everybody to read; it takes the file away when a shutdown is
/// cancelled.
pub const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";

/// How far ahead a shutdown is that an update need not wait for: none takes as long.
const FAR: TimeDelta = TimeDelta::days(1);

/// A scheduled shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// As logind calls it: `reboot`, `poweroff`, `halt`, `kexec` or `soft-reboot`.
    pub mode: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The user who has scheduled it, where logind says so.
    pub uid: Option<u32>,
    /// Whether we have, for an update or a request.
    pub ours: bool,
}

impl Shutdown {
    /// Whether the host comes back from it with another kernel, if there is one.
    #[must_use]
    pub fn is_reboot(&self) -> bool {
        ["reboot", "kexec"].contains(&self.mode.as_str())
    }

    /// Whether an update that begins now could still be at work then.
    #[must_use]
    pub fn is_near(&self, now: DateTime<Utc>) -> bool {
        self.at - now < FAR
    }
}

impl std::fmt::Display for Shutdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "a {} of the host is scheduled for {at}", self.mode)?;
        match self.uid {
            Some(uid) => write!(f, " by user {uid}"),
            None => Ok(()),
        }
    }
}

/// The shutdown that is scheduled: by logind, or by a timer of ours where there is no logind.
#[must_use]
pub fn scheduled(paths: &Paths) -> Option<Shutdown> {
    let text = fs::read_to_string(paths.host(SCHEDULED)).unwrap_or_default();
    let reboot = Reboot::load(paths);
    let is_ours = |shutdown: &Shutdown| {
        let mut times = reboot.iter().flat_map(|r| [r.at, r.planned]).flatten();
        shutdown.mode == "reboot" && times.any(|time| is_same(time, shutdown.at))
    };
    let by_logind = parse(&text).map(|shutdown| Shutdown {
        ours: is_ours(&shutdown),
        ..shutdown
    });
    by_logind.or_else(|| {
        let timer = paths.host(&format!("/run/systemd/transient/{TIMER}"));
        let reboot = reboot.as_ref().filter(|_| timer.exists())?;
        Some(Shutdown {
            mode: "reboot".to_owned(),
            at: reboot.at.or(reboot.planned)?,
            uid: None,
            ours: true,
        })
    })
}

/// The shutdown that another program has scheduled.
#[must_use]
pub fn foreign(paths: &Paths) -> Option<Shutdown> {
    scheduled(paths).filter(|shutdown| !shutdown.ours)
}

/// logind keeps microseconds.
fn is_same(one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
    one.timestamp_micros() == other.timestamp_micros()
}

/// Reads logind's file: pure.
fn parse(text: &str) -> Option<Shutdown> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    Some(Shutdown {
        mode: value("MODE=")?.to_owned(),
        at: DateTime::from_timestamp_micros(value("USEC=")?.parse().ok()?)?,
        uid: value("UID=").and_then(|uid| uid.parse().ok()),
        ours: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logind_says_what_is_scheduled() {
        let text = "USEC=1700000000000000\nWARN_WALL=1\nMODE=reboot\nUID=0\n";
        let reboot = parse(text).unwrap();
        assert!(reboot.is_reboot() && !reboot.ours);
        assert_eq!(
            reboot.to_string(),
            "a reboot of the host is scheduled for 2023-11-14T22:13:20Z by user 0"
        );
        let poweroff = parse("USEC=1700000000000000\nMODE=poweroff\n").unwrap();
        assert!(!poweroff.is_reboot());
        assert_eq!(poweroff.uid, None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn one_that_is_days_away_holds_up_no_update() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let shutdown = parse("USEC=1700000000000000\nMODE=reboot\n").unwrap();
        assert!(shutdown.is_near(at + TimeDelta::minutes(1)));
        assert!(shutdown.is_near(at - TimeDelta::hours(23)));
        assert!(!shutdown.is_near(at - TimeDelta::hours(25)));
    }

    #[test]
    fn ours_is_told_by_its_time_to_the_microsecond() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let file = paths.host(SCHEDULED);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::create_dir_all(paths.state()).unwrap();
        fs::write(&file, "USEC=1700000000000005\nMODE=reboot\n").unwrap();
        assert!(foreign(&paths).is_some());
        let time = |nanos: u32| DateTime::from_timestamp(1_700_000_000, nanos);
        let mut reboot = Reboot {
            job: None,
            reasons: Vec::new(),
            delay: 0,
            boot_id: String::new(),
            at: None,
            planned: None,
            waits: None,
        };
        // as it was asked for, and before that was written down
        for (at, planned) in [(time(5_999), None), (None, time(5_001))] {
            (reboot.at, reboot.planned) = (at, planned);
            reboot.save(&paths).unwrap();
            assert!(scheduled(&paths).unwrap().ours);
        }
        reboot.planned = time(6_000);
        reboot.save(&paths).unwrap();
        assert!(foreign(&paths).is_some());
        fs::write(&file, "USEC=1700000000000006\nMODE=poweroff\n").unwrap();
        assert!(foreign(&paths).is_some());
    }
}
