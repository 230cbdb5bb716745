//! Commands to the worker that are neither requests nor decisions about jobs: acknowledge an alert, reboot.

use std::ffi::{OsStr, OsString};
use std::fmt;

use anyhow::{Context, Result, ensure};

use super::entries::{self, MAX_WAITING};
use crate::fs::{remove_all_durably, rename_durably, write_atomically};
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::alert::Cause;

/// An order: a file beside the entries, all of it in its name. It is looked at by the worker alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCommand {
    /// The administrator has seen this alert, or every alert that can be acknowledged.
    Acknowledge(Option<Cause>),
    /// What this job had installed and was rolled back is to be offered again.
    Forget(JobId),
    /// Reboot the host in so many seconds, once nothing is left to do.
    Reboot(u32),
    /// Do not reboot the host after all.
    CancelReboot,
}

impl fmt::Display for WorkerCommand {
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

impl WorkerCommand {
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

    /// Whether what an order changes is what the other one changes.
    fn is_about_that_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Reboot(_) | Self::CancelReboot, Self::Reboot(_) | Self::CancelReboot)
            | (Self::Acknowledge(_), Self::Acknowledge(_)) => true,
            (Self::Forget(one), Self::Forget(other)) => one == other,
            _ => false,
        }
    }

    /// Leaves the order for the worker, durably.
    pub fn leave(&self, paths: &Paths) -> Result<()> {
        ensure!(
            entries::length(paths) < MAX_WAITING,
            "{MAX_WAITING} requests wait already"
        );
        let name = format!("{}.{self}", JobId::new()?);
        let prepared = paths.tmp().join(&name);
        write_atomically(&prepared, b"", 0o640)
            .and_then(|()| rename_durably(&prepared, &paths.queue().join(&name)))
            .context("the command could not be queued")
    }
}

/// The orders that are to be followed, with the names of the entries that give each: pure. Equal ones are one, where
/// no order about the same thing comes between them.
#[must_use]
pub fn distinct(orders: &[(WorkerCommand, OsString)]) -> Vec<(&WorkerCommand, Vec<&OsString>)> {
    let mut distinct: Vec<(&WorkerCommand, Vec<&OsString>)> = Vec::new();
    for (order, name) in orders {
        let latest = distinct.iter_mut().rev();
        let mut same_thing = latest.filter(|(other, _)| other.is_about_that_of(order));
        match same_thing.next() {
            Some((other, names)) if *other == order => names.push(name),
            _ => distinct.push((order, vec![name])),
        }
    }
    distinct
}

/// Takes the entries of an order out of the queue: it was followed.
pub fn remove(paths: &Paths, names: &[&OsString]) -> Result<()> {
    let is_directory = |name: &OsString| {
        let entry = paths.queue().join(name).symlink_metadata();
        entry.is_ok_and(|entry| entry.is_dir())
    };
    let (directories, files): (Vec<OsString>, Vec<OsString>) =
        names.iter().copied().cloned().partition(is_directory);
    for name in &directories {
        entries::remove(paths, name)?;
    }
    remove_all_durably(&paths.queue(), &files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_orders_that_wait_together_are_one() {
        let name = |number: usize| OsString::from(format!("{number}"));
        let id = JobId::new().unwrap();
        let many = |orders: &[WorkerCommand]| -> Vec<(WorkerCommand, OsString)> {
            let numbered = orders.iter().cloned().enumerate();
            numbered
                .map(|(number, order)| (order, name(number)))
                .collect()
        };
        let fifty = many(&vec![WorkerCommand::CancelReboot; 50]);
        let told = distinct(&fifty);
        assert_eq!((told.len(), told[0].1.len()), (1, 50));
        let mixed = many(&[
            WorkerCommand::Reboot(0),
            WorkerCommand::CancelReboot,
            WorkerCommand::Acknowledge(None),
            WorkerCommand::CancelReboot,
            WorkerCommand::Forget(id.clone()),
            WorkerCommand::Reboot(0),
            WorkerCommand::Acknowledge(Some(Cause::RolledBack)),
            WorkerCommand::Forget(id.clone()),
            WorkerCommand::Acknowledge(None),
        ]);
        let told: Vec<(WorkerCommand, usize)> = distinct(&mixed)
            .into_iter()
            .map(|(order, names)| (order.clone(), names.len()))
            .collect();
        let expected = [
            (WorkerCommand::Reboot(0), 1),
            (WorkerCommand::CancelReboot, 2),
            (WorkerCommand::Acknowledge(None), 1),
            (WorkerCommand::Forget(id), 2),
            (WorkerCommand::Reboot(0), 1),
            (WorkerCommand::Acknowledge(Some(Cause::RolledBack)), 1),
            (WorkerCommand::Acknowledge(None), 1),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn orders_are_told_by_their_names() {
        let id = JobId::new().unwrap();
        for order in [
            WorkerCommand::Acknowledge(None),
            WorkerCommand::Acknowledge(Some(Cause::RolledBack)),
            WorkerCommand::Forget(id.clone()),
            WorkerCommand::Reboot(0),
            WorkerCommand::Reboot(300),
            WorkerCommand::CancelReboot,
        ] {
            let name = OsString::from(format!("{id}.{order}"));
            assert_eq!(WorkerCommand::parse(&name), Some(order));
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
            assert_eq!(WorkerCommand::parse(&name), None, "{word}");
        }
        assert_eq!(WorkerCommand::parse(OsStr::new("x.reboot-5")), None);
    }
}
