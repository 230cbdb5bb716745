//! The service manager and the bus: repairs units, starts our own service, sends notifications.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use zbus::{OwnedObjectPath, Variant};

use super::bus::{Object, system_bus, within};
use super::manager::{MANAGER, by_names, forget_failure, queue_job, units};
use super::watchers;
use crate::paths::Paths;

/// Time limit for a call whose answer is optional.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Starts those of our path, socket and timer units again that have failed, and those that are stopped and that
/// an administrator has neither disabled nor masked; their names.
///
/// A path unit that ran into a limit would otherwise never trigger again, unnoticed by the administrator.
pub fn heal_units(paths: &Paths) -> Result<Vec<String>> {
    zbus::block_on(async {
        let bus = system_bus()?;
        let patterns = ["patch-*.path", "patch-*.socket", "patch-*.timer"];
        let failed = units(&bus, &["failed"], &patterns).await?;
        let mut healed = Vec::new();
        for (name, ..) in failed {
            forget_failure(&bus, &name).await?;
            queue_job(&bus, "StartUnit", &name).await?;
            healed.push(name);
        }
        for name in watchers::stopped(&bus, paths).await? {
            if !healed.iter().any(|unit| unit == name) {
                queue_job(&bus, "StartUnit", name).await?;
                healed.push(name.to_owned());
            }
        }
        Ok(healed)
    })
}

fn job(method: &str, unit: &str) -> Result<()> {
    Ok(zbus::block_on(queue_job(&system_bus()?, method, unit))?)
}

/// Starts a unit.
pub fn start_unit(name: &str) -> Result<()> {
    job("StartUnit", name)
}

/// Schedules a reboot by a timer of that name, for hosts without logind. The timer does not survive
/// the boot, and an administrator who stops it cancels the reboot.
pub fn start_reboot_timer(name: &str, seconds: u64, description: &str) -> Result<()> {
    // a transient timer starts the service of its own name, and no other unit
    let service = name.replace(".timer", ".service");
    let arguments = vec!["systemctl", "--no-wall", "reboot"];
    let reboot = vec![
        ("Description", Variant::from(description)),
        ("Type", Variant::from("oneshot")),
        (
            "ExecStart",
            Variant::from(vec![("/usr/bin/systemctl", arguments, false)]),
        ),
    ];
    zbus::block_on(async {
        let bus = system_bus()?;
        let properties = vec![
            ("Description", Variant::from(description)),
            (
                "TimersMonotonic",
                Variant::from(vec![("OnActiveSec", seconds.saturating_mul(1_000_000))]),
            ),
            ("AccuracyUSec", Variant::from(1_000_000_u64)),
        ];
        // one that was asked for before gives way
        let _ = queue_job(&bus, "StopUnit", name).await;
        let units = (name, "replace", properties, vec![(service, reboot)]);
        let job = MANAGER.call(&bus, "StartTransientUnit", &units).await;
        Ok(job.map(|_: OwnedObjectPath| ())?)
    })
}

/// Has the service manager re-execute itself, once the units of ours that are at work have ended: a
/// `systemctl start` of root's waits for them on a connection that does not survive it.
pub fn reexecute_after_workers() -> Result<()> {
    let name = "patch-reexec.service";
    let arguments = vec!["systemctl", "daemon-reexec"];
    zbus::block_on(async {
        let bus = system_bus()?;
        let working = units(&bus, &["activating"], &["patch-*.service"]).await?;
        let after: Vec<String> = working.into_iter().map(|unit| unit.0).collect();
        let properties = vec![
            (
                "Description",
                Variant::from("Re-execute the service manager"),
            ),
            ("After", Variant::from(after)),
            ("Type", Variant::from("oneshot")),
            (
                "ExecStart",
                Variant::from(vec![("/usr/bin/systemctl", arguments, false)]),
            ),
        ];
        let none = Vec::<(&str, Vec<(&str, Variant<'_>)>)>::new();
        let units = (name, "replace", properties, none);
        let job = MANAGER.call(&bus, "StartTransientUnit", &units).await;
        Ok(job.map(|_: OwnedObjectPath| ())?)
    })
}

/// Starts a unit, and waits for no answer: not longer than it takes to ask. The unit may be one that
/// waits for the calling process.
pub fn start_unit_soon(name: String) -> Result<()> {
    let asked = within(ASK_LIMIT, move || start_unit(&name));
    asked.context("the service manager did not answer in time")?
}

/// Forgets of these units that they failed, and how often they were started lately.
pub fn reset_failed(names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    zbus::block_on(async {
        let bus = system_bus()?;
        for name in names {
            forget_failure(&bus, name).await?;
        }
        Ok(())
    })
}

/// Which unit's trigger started this one last, if one did; an error where the service manager does not tell
/// (before systemd 250), or does not answer.
pub fn starter(name: &str) -> Result<Option<String>> {
    let name = name.to_owned();
    let asked = within(ASK_LIMIT, move || {
        zbus::block_on(async {
            let bus = system_bus()?;
            let path: OwnedObjectPath = MANAGER.call(&bus, "GetUnit", &(name,)).await?;
            let unit = Object {
                service: MANAGER.service,
                path: &path,
                interface: "org.freedesktop.systemd1.Unit",
            };
            let details = unit.property(&bus, "ActivationDetails").await?;
            let details = Vec::<(String, String)>::try_from(Variant::from(details))?;
            let starter = details.into_iter().find(|(key, _)| key == "trigger_unit");
            anyhow::Ok(starter.map(|(_, unit)| unit))
        })
    });
    asked.context("the service manager did not answer in time")?
}

/// What became of a unit that was to be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restarted {
    /// It is active again.
    Active,
    /// It is none that may be restarted.
    Refused,
    /// It was still on its way when the time was up.
    Late,
    /// It is in this other state.
    Down(String),
}

/// Restarts units at once, and waits for all of them, but not longer than `limit`.
pub fn restart_units(names: Vec<String>, limit: Duration) -> Result<BTreeMap<String, Restarted>> {
    let answer = within(limit + ASK_LIMIT, move || {
        zbus::block_on(restart(&names, limit))
    });
    answer.context("the service manager does not answer any more")?
}

async fn restart(names: &[String], limit: Duration) -> Result<BTreeMap<String, Restarted>> {
    let bus = system_bus()?;
    let began = Instant::now();
    let mut states = BTreeMap::new();
    for name in names {
        if let Err(error) = queue_job(&bus, "RestartUnit", name).await {
            tracing::debug!("{name} is not restarted: {error}");
            states.insert(name.clone(), Restarted::Refused);
        }
    }
    loop {
        let asked: Vec<&str> = names
            .iter()
            .filter(|name| !states.contains_key(*name))
            .map(String::as_str)
            .collect();
        if asked.is_empty() {
            return Ok(states);
        }
        let units = by_names(&bus, &asked).await?;
        for unit in units {
            let (name, active, job) = (unit.0, unit.3, unit.7);
            let on_its_way = ["activating", "deactivating", "reloading"].contains(&&*active);
            if job == 0 && !on_its_way {
                let state = match &*active {
                    "active" => Restarted::Active,
                    _ => Restarted::Down(active),
                };
                states.insert(name, state);
            } else if began.elapsed() >= limit {
                states.insert(name, Restarted::Late);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Stops a unit.
pub fn stop_unit(name: &str) -> Result<()> {
    job("StopUnit", name)
}

/// Restarts a unit if it runs; does not wait for the result.
pub fn try_restart_unit(name: &str) -> Result<()> {
    job("TryRestartUnit", name)
}

/// Starts the D-Bus service, which then signals what has changed. The worker does not wait for it, and
/// on a host without a bus there are no clients to signal.
pub fn wake_agent() {
    let door = Object {
        service: "org.linux_patch.Agent1",
        path: "/org/linux_patch/Agent1",
        interface: "org.freedesktop.DBus.Peer",
    };
    let woken = within(ASK_LIMIT, move || {
        zbus::block_on(async {
            let () = door.call(&system_bus()?, "Ping", &()).await?;
            anyhow::Ok(())
        })
    });
    if let Some(Err(error)) = woken {
        tracing::debug!("the D-Bus service was not started: {error:#}");
    }
}

/// Tells the service manager, if there is one, in one line what this process is doing.
pub fn status(text: &str) {
    // a failure here is of no use to any caller
    let _ = sd_notify::notify(&[NotifyState::Status(text)]);
}

/// Whether this process was started as a unit.
#[must_use]
pub fn is_unit() -> bool {
    std::env::var_os("INVOCATION_ID").is_some()
}
