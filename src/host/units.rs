//! How the units of this host are, as the service manager says: for comparing before and after.

// the suffix of a unit's name gives its type, in lower case only
#![allow(clippy::case_sensitive_file_extension_comparisons)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::bus::{Object, system_bus, within};
use super::clock;
use super::manager::units;
use crate::sorted::InOrder;

/// The units at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// When this was: microseconds of the monotonic clock.
    pub at: u64,
    /// In which boot this was.
    pub boot: String,
    /// The units that have failed, of every type.
    pub failed: BTreeSet<String>,
    /// The services that are active, or on their way from or to it.
    pub services: BTreeMap<String, Service>,
    /// The units of other types that are active.
    #[serde(default)]
    pub active: BTreeSet<String>,
    /// The services that are still to be started: their start is queued.
    #[serde(default)]
    pub waiting: BTreeSet<String>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its sub state, such as `running` or `auto-restart`.
    pub sub: String,
    /// How often it was restarted by itself since a person or a program started it.
    pub restarts: u32,
    /// When it last became active: microseconds of the monotonic clock, 0 for never.
    pub since: u64,
}

/// Whether a unit is one of this package's, or of the administrator's beside them: all begin like this.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name.starts_with("patch-")
}

/// Asks the service manager; an error when it does not answer within `limit`: the bus itself may have
/// been replaced by an update a moment ago.
pub fn look(limit: Duration) -> Result<Units> {
    within(limit, || zbus::block_on(ask()))
        .unwrap_or_else(|| bail!("it did not answer within {} s", limit.as_secs()))
        .context("the service manager cannot be asked for its units")
}

async fn ask() -> Result<Units> {
    let bus = system_bus()?;
    let at = clock::monotonic();
    let failed = units(&bus, &["failed"], &[]).await?;
    let states = ["active", "reloading", "activating", "deactivating"];
    let up = units(&bus, &states, &[]).await?;
    let inactive = units(&bus, &["inactive"], &["*.service"]).await?;
    let starts = |kind: &str| kind == "start" || kind == "restart";
    let waiting = inactive
        .into_iter()
        .filter_map(|(name, .., job, kind, _)| (job != 0 && starts(&kind)).then_some(name))
        .in_order();
    let (mut services, mut active) = (BTreeMap::new(), BTreeSet::new());
    for (name, _, _, state, sub, _, path, ..) in up {
        if !name.ends_with(".service") {
            if state == "active" {
                active.insert(name);
            }
            continue;
        }
        let unit = |interface| Object {
            service: "org.freedesktop.systemd1",
            path: &path,
            interface,
        };
        let (service, unit) = (
            unit("org.freedesktop.systemd1.Service"),
            unit("org.freedesktop.systemd1.Unit"),
        );
        // a unit may be gone between the two questions
        let Ok(since) = unit.property(&bus, "ActiveEnterTimestampMonotonic").await else {
            continue;
        };
        let Ok(restarts) = service.property(&bus, "NRestarts").await else {
            continue;
        };
        let service = Service {
            sub,
            restarts: restarts.try_into()?,
            since: since.try_into()?,
        };
        services.insert(name, service);
    }
    Ok(Units {
        at,
        boot: clock::boot_id(),
        failed: failed.into_iter().map(|(name, ..)| name).in_order(),
        services,
        active,
        waiting,
    })
}
