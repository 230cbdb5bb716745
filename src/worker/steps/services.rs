//! Services that still run what an update has replaced: found, listed, and restarted where that is safe.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::glob;
use crate::host::processes;
use crate::host::systemd::{self, Restarted};
use crate::host::units::is_ours;
use crate::journal;
use crate::request::{JobId, Kind, RestartPolicy};
use crate::state::job::{Job, JobStatus};
use crate::state::services::{self, Outdated, Process, RestartState};
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::reexec;
use crate::worker::steps::unit::Unit;

/// What is never restarted: persons work in it, the network or other services hang on it, or it has to
/// go on while the worker does. `*` stands for any characters, `?` for any one.
const NEVER: &[&str] = &[
    // the bus, the service manager's own, who may do what
    "dbus.service",
    "dbus-broker.service",
    "polkit.service",
    "systemd-logind.service",
    "systemd-machined.service",
    "elogind.service",
    // sessions: graphical, on terminals, of users
    "display-manager.service",
    "gdm*.service",
    "greetd.service",
    "lightdm.service",
    "lxdm.service",
    "ly*.service",
    "sddm.service",
    "slim.service",
    "xdm.service",
    "xrdp*.service",
    "autovt@*.service",
    "*getty@*.service",
    "console-getty.service",
    "user@*.service",
    "user-runtime-dir@*.service",
    // the network
    "NetworkManager*.service",
    "connman*.service",
    "dhclient*.service",
    "dhcpcd*.service",
    "ifup@*.service",
    "iwd.service",
    "networking.service",
    "openvpn*.service",
    "systemd-networkd*.service",
    "wicked*.service",
    "wpa_supplicant*.service",
    // storage
    "iscsid.service",
    "multipathd.service",
    // containers and virtual machines
    "containerd.service",
    "cri*.service",
    "docker*.service",
    "incus*.service",
    "k3s*.service",
    "kubelet.service",
    "libvirt*.service",
    "lxc*.service",
    "lxd*.service",
    "podman*.service",
    "systemd-nspawn@*.service",
    "virt*d.service",
];

/// How long the restarts may take altogether: a little more than a unit may take by default.
const LIMIT: Duration = Duration::from_secs(120);

/// What became of the services that were restarted, in a sentence each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    /// Those that did not come back, not even when they were restarted once more.
    pub failed: Vec<String>,
    /// Those that were still on their way when the time was up.
    pub late: Vec<String>,
}

/// After the packages have changed: lists what runs replaced files, and restarts those services of it on
/// which nothing rests, when the job asks for that.
pub fn after_update(ctx: &Context, transaction: &JobId) -> Restarts {
    let asked = Job::taken(&ctx.paths, transaction).and_then(|job| job.request.options.restart);
    let policy = asked.unwrap_or(ctx.config.services.restart);
    let mut found = find_outdated(ctx);
    for service in &found {
        let file = service.files.first().map_or("", String::as_str);
        journal::service_outdated(transaction, &service.unit, file, &service.advice);
    }
    let mut restarts = Restarts::default();
    if policy == RestartPolicy::Safe {
        let never = &ctx.config.services.never;
        let safe = found.iter_mut().filter(|service| {
            let unit = || Unit::ask(&service.unit);
            is_safe(service, never) && unit().is_ok_and(|unit| is_idle(&unit))
        });
        restarts = restart(transaction, safe.collect());
        let mut units = found.iter().map(|service| service.unit.as_str());
        if units.any(|unit| unit == services::MANAGER) {
            reexec::intend(ctx);
        }
    }
    if let Err(error) = services::save(&ctx.paths, &found) {
        tracing::warn!("{error:#}");
    }
    restarts
}

/// Notes with the jobs that have changed something what still ran replaced files at their end.
pub fn note(ctx: &Context, jobs: &mut [Job]) {
    let changed = |job: &&mut Job| {
        job.request.kind == Kind::Apply
            && job.status == JobStatus::Succeeded
            && !job.changes.is_empty()
    };
    let listed = services::load(&ctx.paths);
    for job in jobs.iter_mut().filter(changed) {
        job.outdated_services.clone_from(&listed);
    }
}

/// The processes that run replaced files, by their units.
fn find_outdated(ctx: &Context) -> Vec<Outdated> {
    let mut units: BTreeMap<String, Outdated> = BTreeMap::new();
    for process in processes::stale(Path::new("/proc")) {
        let name = journal::plain(&process.unit);
        // units of ours run what they need, and are gone when their work is done
        if is_ours(&name) || process.pid == std::process::id() {
            continue;
        }
        let unit = units.entry(name.clone()).or_insert_with(|| Outdated {
            invocation: services::invocation(&ctx.paths, &name),
            advice: services::advice(&name, process.user),
            unit: name,
            user: process.user,
            processes: Vec::new(),
            files: Vec::new(),
            state: RestartState::Outdated,
        });
        unit.processes.push(Process {
            pid: process.pid,
            started: process.started,
        });
        for file in process.files.iter().map(|file| journal::plain(file)) {
            if !unit.files.contains(&file) {
                unit.files.push(file);
            }
        }
    }
    units.into_values().collect()
}

/// Whether the service may be restarted without harm: pure.
fn is_safe(service: &Outdated, never: &[String]) -> bool {
    let name = &service.unit;
    let mut patterns = NEVER
        .iter()
        .copied()
        .chain(never.iter().map(String::as_str));
    !service.user && name.ends_with(".service") && !patterns.any(|p| glob::matches(p, name))
}

/// Whether a restart interrupts nothing: pure but for the question who started it. A service that remains
/// active after its program has ended has something to undo when it stops.
fn is_idle(unit: &Unit) -> bool {
    unit.active == "active" && !unit.remains && !unit.is_errand()
}

/// Restarts the units, all at once, since they may depend on each other; once more those that did not come
/// back, which may have needed another one that came later.
fn restart(transaction: &JobId, mut units: Vec<&mut Outdated>) -> Restarts {
    let mut restarts = Restarts::default();
    for is_last in [false, true] {
        let names: Vec<String> = units.iter().map(|service| service.unit.clone()).collect();
        if names.is_empty() {
            break;
        }
        systemd::status(&format!("restarting {}", names.join(" ")));
        let states = match systemd::restart_units(names.clone(), LIMIT) {
            Ok(states) => states,
            // without the service manager, nothing is known of them
            Err(error) => {
                let why = format!(
                    "whether {} were restarted is not known: {error:#}",
                    names.join(" ")
                );
                restarts.late.push(why);
                break;
            }
        };
        units.retain_mut(|service| {
            let state = states.get(&service.unit);
            let is_down = note_restart(transaction, service, state, &mut restarts);
            if let (Some(state), true) = (&is_down, is_last) {
                service.state = RestartState::Failed;
                let unit = &service.unit;
                let why = format!("{unit} did not come back after its restart, nor after another one, it is {state}");
                restarts.failed.push(why);
            }
            is_down.is_some()
        });
        let down: Vec<String> = units.iter().map(|service| service.unit.clone()).collect();
        if !is_last && let Err(error) = systemd::reset_failed(&down) {
            tracing::debug!("units that failed were not reset: {error:#}");
        }
    }
    restarts
}

/// Notes what became of one service; its state when it is down.
fn note_restart(
    transaction: &JobId,
    service: &mut Outdated,
    state: Option<&Restarted>,
    restarts: &mut Restarts,
) -> Option<String> {
    match state {
        Some(Restarted::Active) => {
            service.state = RestartState::Restarted;
            journal::service_restarted(transaction, &service.unit);
            None
        }
        // the service manager refuses to restart it by hand
        Some(Restarted::Refused) => None,
        Some(Restarted::Late) => {
            let (unit, limit) = (&service.unit, LIMIT.as_secs());
            let why = format!(
                "{unit} was restarted, and is not up after {limit} s; the worker no longer waits for it"
            );
            restarts.late.push(why);
            None
        }
        Some(Restarted::Down(state)) => Some(state.clone()),
        None => Some("not known any more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(unit: &str, user: bool) -> Outdated {
        Outdated {
            unit: unit.into(),
            invocation: String::new(),
            user,
            processes: vec![],
            files: vec![],
            state: RestartState::Outdated,
            advice: String::new(),
        }
    }

    #[test]
    fn only_what_harms_nobody_is_restarted() {
        let never = ["my-*.service".to_owned()];
        for unit in [
            "nginx.service",
            "ssh.service",
            "cron.service",
            "foo@1.service",
        ] {
            assert!(is_safe(&service(unit, false), &never), "{unit}");
        }
        for unit in [
            "dbus.service",
            "gdm3.service",
            "serial-getty@ttyS0.service",
            "getty@tty1.service",
            "user@1000.service",
            "NetworkManager-dispatcher.service",
            "docker.service",
            "virtqemud.service",
            "init.scope",
            "session-1.scope",
            "my-own.service",
        ] {
            assert!(!is_safe(&service(unit, false), &never), "{unit}");
        }
        assert!(!is_safe(&service("x.service", true), &never));
    }

    #[test]
    fn what_is_at_work_or_has_something_to_undo_is_left_alone() {
        let daemon = Unit {
            kind: "notify".into(),
            active: "active".into(),
            ..Unit::default()
        };
        assert!(is_idle(&daemon));
        for unit in [
            Unit {
                kind: "oneshot".into(),
                ..daemon.clone()
            },
            Unit {
                remains: true,
                ..daemon.clone()
            },
            Unit {
                active: "activating".into(),
                ..daemon.clone()
            },
            Unit {
                active: "deactivating".into(),
                ..daemon.clone()
            },
            Unit {
                triggers: vec!["backup.timer".into()],
                ..daemon.clone()
            },
        ] {
            assert!(!is_idle(&unit), "{unit:?}");
        }
    }

    #[test]
    fn patterns_match_as_a_shells_do() {
        for (pattern, name, is) in [
            ("*", "", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--b--", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*getty@*.service", "getty@tty1.service", true),
            ("x", "xy", false),
        ] {
            assert_eq!(glob::matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
