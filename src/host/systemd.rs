//! The service manager and the bus: units that are healed, our own door that is woken, notifications.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use zbus::{OwnedObjectPath, Variant};

/// How long a call on the bus may take: zbus has no limit of its own.
pub const CALL_LIMIT: Duration = Duration::from_secs(25);

/// How long somebody is asked who need not answer.
const ASK_LIMIT: Duration = Duration::from_secs(5);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Manager {
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        auxiliary: &[(&str, Vec<(&str, Variant<'_>)>)],
    ) -> zbus::Result<OwnedObjectPath>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn try_restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn list_units_by_names(&self, names: &[&str]) -> zbus::Result<Vec<Unit>>;
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str])
    -> zbus::Result<Vec<Unit>>;
}

/// Name, description, load state, active state, sub state, following, path, job id, type and path.
type Unit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// A connection to the system bus whose calls end. So does connecting, which has no time limit of its own:
/// the service manager's socket accepts also while a bus that was just replaced does not answer.
pub fn system_bus() -> Result<zbus::Connection> {
    let bus = zbus::connection::Builder::system().method_timeout(CALL_LIMIT);
    connected(bus, CALL_LIMIT, "the system bus")
}

/// Connects to a bus of that name, and not longer than that.
pub fn connected(
    bus: zbus::connection::Builder<'static>,
    limit: Duration,
    name: &str,
) -> Result<zbus::Connection> {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(zbus::block_on(bus.build()));
    });
    match wait.recv_timeout(limit) {
        Ok(bus) => bus.with_context(|| format!("{name} is not reachable")),
        Err(_) => anyhow::bail!("{name} did not answer within {} s", limit.as_secs()),
    }
}

/// Starts those of our path, socket and timer units again that have failed; their names.
///
/// A path unit that ran into a limit is deaf for ever otherwise, and nobody sees it.
pub fn heal_units() -> Result<Vec<String>> {
    zbus::block_on(async {
        let bus = system_bus()?;
        let manager = ManagerProxy::new(&bus).await?;
        let patterns = ["patch-*.path", "patch-*.socket", "patch-*.timer"];
        let failed = manager
            .list_units_by_patterns(&["failed"], &patterns)
            .await?;
        let mut healed = Vec::new();
        for (name, ..) in failed {
            manager.reset_failed_unit(&name).await?;
            manager.start_unit(&name, "replace").await?;
            healed.push(name);
        }
        Ok(healed)
    })
}

/// Starts a unit.
pub fn start_unit(name: &str) -> Result<()> {
    zbus::block_on(async {
        let manager = ManagerProxy::new(&system_bus()?).await?;
        manager.start_unit(name, "replace").await?;
        Ok(())
    })
}

/// Has the host rebooted by a timer of that name, for where nobody else can be asked: the timer is gone
/// with the boot, and whoever stops it takes the reboot back.
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
        let manager = ManagerProxy::new(&system_bus()?).await?;
        let properties = [
            ("Description", Variant::from(description)),
            (
                "TimersMonotonic",
                Variant::from(vec![("OnActiveSec", seconds.saturating_mul(1_000_000))]),
            ),
            ("AccuracyUSec", Variant::from(1_000_000_u64)),
        ];
        // one that was asked for before gives way
        let _ = manager.stop_unit(name, "replace").await;
        manager
            .start_transient_unit(name, "replace", &properties, &[(&service, reboot)])
            .await?;
        Ok(())
    })
}

/// Starts a unit, and waits for no answer: not longer than it takes to ask. The unit may be one that
/// waits for whoever asks.
pub fn start_unit_soon(name: String) -> Result<()> {
    let (done, wait) = std::sync::mpsc::channel();
    // connecting has no time limit of its own
    std::thread::spawn(move || {
        let _ = done.send(start_unit(&name));
    });
    let asked = wait.recv_timeout(ASK_LIMIT);
    asked.context("the service manager did not answer in time")?
}

/// Forgets of these units that they failed, and how often they were started lately.
pub fn reset_failed(names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    zbus::block_on(async {
        let manager = ManagerProxy::new(&system_bus()?).await?;
        for name in names {
            manager.reset_failed_unit(name).await?;
        }
        Ok(())
    })
}

/// Restarts units at once, and waits for all of them: how each is then, `active` when it is back, `refused`
/// when it is none that may be restarted.
pub fn restart_units(names: Vec<String>, limit: Duration) -> Result<BTreeMap<String, String>> {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(zbus::block_on(restart(&names)));
    });
    let answer = wait.recv_timeout(limit);
    answer.context("the service manager has not restarted them in time")?
}

async fn restart(names: &[String]) -> Result<BTreeMap<String, String>> {
    let manager = ManagerProxy::new(&system_bus()?).await?;
    let mut states = BTreeMap::new();
    for name in names {
        if let Err(error) = manager.restart_unit(name, "replace").await {
            tracing::debug!("{name} is not restarted: {error}");
            states.insert(name.clone(), "refused".to_owned());
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
        for unit in manager.list_units_by_names(&asked).await? {
            let (name, active, job) = (unit.0, unit.3, unit.7);
            if job == 0 && !["activating", "deactivating", "reloading"].contains(&&*active) {
                states.insert(name, active);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Stops a unit.
pub fn stop_unit(name: &str) -> Result<()> {
    zbus::block_on(async {
        let manager = ManagerProxy::new(&system_bus()?).await?;
        manager.stop_unit(name, "replace").await?;
        Ok(())
    })
}

/// Starts a unit anew if it runs; its end is not waited for.
pub fn try_restart_unit(name: &str) -> Result<()> {
    zbus::block_on(async {
        let manager = ManagerProxy::new(&system_bus()?).await?;
        manager.try_restart_unit(name, "replace").await?;
        Ok(())
    })
}

/// Wakes the D-Bus door, so that it tells its listeners what has changed. Nothing waits for it, and
/// a host without a bus has nobody to tell.
pub fn wake_door() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let woken = zbus::block_on(async {
            let bus = system_bus()?;
            let flags = zbus::proxy::MethodFlags::empty();
            let proxy = zbus::proxy::Builder::<zbus::Proxy<'_>>::new(&bus)
                .destination("org.linux_patch.Agent1")
                .path("/org/linux_patch/Agent1")
                .interface("org.freedesktop.DBus.Peer")
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await?;
            proxy
                .call_with_flags::<_, _, ()>("Ping", flags, &())
                .await?;
            anyhow::Ok(())
        });
        let _ = done.send(woken);
    });
    if let Ok(Err(error)) = wait.recv_timeout(ASK_LIMIT) {
        tracing::debug!("the D-Bus door was not woken: {error:#}");
    }
}

/// Tells the service manager, if there is one, in one line what this process is doing.
pub fn status(text: &str) {
    // there is nobody to tell the failure to
    let _ = sd_notify::notify(&[NotifyState::Status(text)]);
}

/// Whether this process was started as a unit.
#[must_use]
pub fn is_unit() -> bool {
    std::env::var_os("INVOCATION_ID").is_some()
}
