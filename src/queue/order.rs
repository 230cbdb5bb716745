//! What somebody tells the worker besides requests and decisions about jobs: an alert was seen, reboot.

use std::ffi::{OsStr, OsString};
use std::fmt;

use anyhow::{Context, Result};

use crate::fs::{rename_durably, write_atomically};
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::alert::Cause;

/// An order: a file beside the entries, all of it in its name. It is looked at by the worker alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// This alert, or each that can be, was seen by somebody.
    Acknowledge(Option<Cause>),
    /// What this job had installed and was rolled back is to be offered again.
    Forget(JobId),
    /// Reboot the host in so many seconds, once nothing is left to do.
    Reboot(u32),
    /// Do not reboot the host after all.
    CancelReboot,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledge(None) => f.write_str("acknowledge-all"),
            Self::Acknowledge(Some(cause)) => write!(f, "acknowledge-{}", cause.as_str()),
            Self::Forget(job) => write!(f, "forget-{job}"),
            Self::Reboot(seconds) => write!(f, "reboot-{seconds}"),
            Self::CancelReboot => f.write_str("reboot-cancel"),
        }
    }
}

impl Order {
    /// The order that a name in the queue stands for.
    #[must_use]
    pub fn parse(name: &OsStr) -> Option<Self> {
        let (id, word) = name.to_str()?.split_once('.')?;
        id.parse::<JobId>().ok()?;
        let order = match word.split_once('-')? {
            ("acknowledge", "all") => Self::Acknowledge(None),
            ("acknowledge", key) => Self::Acknowledge(Some(key.parse().ok()?)),
            ("forget", job) => Self::Forget(job.parse().ok()?),
            ("reboot", "cancel") => Self::CancelReboot,
            ("reboot", seconds) => Self::Reboot(seconds.parse().ok()?),
            _ => return None,
        };
        // one order has one name: "+5" and "005" are none
        (order.to_string() == word).then_some(order)
    }

    /// Leaves the order for the worker, durably.
    pub fn leave(&self, paths: &Paths) -> Result<()> {
        let name = format!("{}.{self}", JobId::new()?);
        let prepared = paths.tmp().join(&name);
        write_atomically(&prepared, b"", 0o640)
            .and_then(|()| rename_durably(&prepared, &paths.queue().join(&name)))
            .context("the order could not be queued")
    }
}

/// Takes an order out of the queue: it was followed.
pub fn remove(paths: &Paths, name: &OsString) -> Result<()> {
    super::remove(paths, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_told_by_their_names() {
        let id = JobId::new().unwrap();
        for order in [
            Order::Acknowledge(None),
            Order::Acknowledge(Some(Cause::RolledBack)),
            Order::Forget(id.clone()),
            Order::Reboot(0),
            Order::Reboot(300),
            Order::CancelReboot,
        ] {
            let name = OsString::from(format!("{id}.{order}"));
            assert_eq!(Order::parse(&name), Some(order));
        }
        for word in [
            "reboot",
            "reboot-",
            "reboot-+5",
            "reboot-005",
            "reboot--5",
            "acknowledge-x",
        ] {
            let name = OsString::from(format!("{id}.{word}"));
            assert_eq!(Order::parse(&name), None, "{word}");
        }
        assert_eq!(Order::parse(OsStr::new("x.reboot-5")), None);
    }
}
