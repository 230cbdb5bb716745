//! How the units of this host are, as the service manager says: for comparing before and after.

// the suffix of a unit's name gives its type, in lower case only
#![allow(clippy::case_sensitive_file_extension_comparisons)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use zbus::OwnedObjectPath;

use super::bus::{Object, system_bus, within};
use super::clock;
use super::manager::{UnitTuple, units};

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
    // one answer for all services: of two, the first may have one that runs, and the second no longer
    let services = units(&bus, &[], &["*.service"]).await?;
    let others = units(&bus, &["failed", "active"], &[]).await?;
    let mut seen = Units {
        at,
        boot: clock::boot_id(),
        ..Units::default()
    };
    let up = seen.take_in(services, others);
    for (name, sub, path) in up {
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
        seen.services.insert(name, service);
    }
    Ok(seen)
}

impl Units {
    /// Takes in each unit by its state; the services that are up, or on their way from or to it, with their sub state
    /// and path. Of `others`, services are ignored. Pure.
    fn take_in(
        &mut self,
        services: Vec<UnitTuple>,
        others: Vec<UnitTuple>,
    ) -> Vec<(String, String, OwnedObjectPath)> {
        let mut up = Vec::new();
        for (name, _, _, state, sub, _, path, job, kind, _) in services {
            match &*state {
                "failed" => {
                    self.failed.insert(name);
                }
                "active" | "reloading" | "refreshing" | "activating" | "deactivating" => {
                    up.push((name, sub, path));
                }
                "inactive" if job != 0 && matches!(&*kind, "start" | "restart") => {
                    self.waiting.insert(name);
                }
                _ => {}
            }
        }
        for (name, _, _, state, ..) in others {
            if name.ends_with(".service") {
                continue;
            }
            let place = match &*state {
                "failed" => &mut self.failed,
                _ => &mut self.active,
            };
            place.insert(name);
        }
        up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, state: &str, job: (u32, &str)) -> UnitTuple {
        let path = || OwnedObjectPath::try_from("/a").unwrap();
        (
            name.into(),
            String::new(),
            "loaded".into(),
            state.into(),
            "sub".into(),
            String::new(),
            path(),
            job.0,
            job.1.into(),
            path(),
        )
    }

    #[test]
    fn a_service_is_counted_once_by_its_state_in_one_answer() {
        let idle = (0, "");
        let services = vec![
            unit("up.service", "active", idle),
            unit("stops.service", "deactivating", idle),
            unit("dead.service", "inactive", idle),
            unit("next.service", "inactive", (7, "start")),
            unit("leaves.service", "inactive", (8, "stop")),
            unit("broken.service", "failed", idle),
        ];
        // what has become of a service since the first answer
        let others = vec![
            unit("up.service", "failed", idle),
            unit("a.timer", "active", idle),
            unit("b.mount", "failed", idle),
        ];
        let mut seen = Units::default();
        let up = seen.take_in(services, others);
        let up: Vec<&str> = up.iter().map(|(name, ..)| &**name).collect();
        assert_eq!(up, ["up.service", "stops.service"]);
        assert_eq!(seen.waiting, ["next.service".to_owned()].into());
        assert_eq!(seen.active, ["a.timer".to_owned()].into());
        let failed = ["b.mount", "broken.service"].map(str::to_owned);
        assert_eq!(seen.failed, failed.into());
    }
}
