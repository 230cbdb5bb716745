//! The host's clocks: a wall clock that may be wrong, and one that only counts.

use std::fs;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The wall clock.
#[must_use]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The time since the host was started, suspends included.
#[must_use]
pub fn uptime() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Microseconds of the clock that the service manager dates its units by: it stands still in a suspend.
#[must_use]
pub fn monotonic() -> u64 {
    let time = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A moment that a later one can be held against even when the wall clock was set in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Which boot of the host.
    pub boot_id: String,
    /// Microseconds since that boot.
    pub uptime_usec: u64,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let usec = u64::try_from(uptime().as_micros()).unwrap_or(u64::MAX);
        Self {
            boot_id: boot_id(),
            uptime_usec: usec,
        }
    }

    /// The time from `earlier` to this moment; `None` when the host was rebooted in between.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        let same = !self.boot_id.is_empty() && self.boot_id == earlier.boot_id;
        let passed = self.uptime_usec.checked_sub(earlier.uptime_usec)?;
        same.then(|| Duration::from_micros(passed))
    }
}

/// The identity of this boot, random(4); empty where the kernel does not give it.
#[must_use]
pub fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}
