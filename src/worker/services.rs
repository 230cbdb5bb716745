//! Services that still run what an update has replaced: found, listed, and restarted where that is safe.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::Worker;
use crate::host::{processes, systemd};
use crate::journal;
use crate::request::{JobId, Kind, RestartPolicy};
use crate::state::job::{Job, JobStatus};
use crate::state::services::{self, Fate, Outdated, Process};

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
    // what we are, and who calls us
    "patch-*.service",
];

/// How long the restarts may take altogether: a little more than a unit may take by default.
const LIMIT: Duration = Duration::from_secs(120);

/// After the packages have changed: lists what runs replaced files, and restarts it in one pass when the
/// job asks for that. What did not come back, a sentence each.
pub fn after_update(worker: &Worker, leader: &JobId) -> Vec<String> {
    let asked = Job::taken(&worker.paths, leader).and_then(|job| job.request.options.restart);
    let policy = asked.unwrap_or(worker.config.services.restart);
    let mut found = look(worker);
    for service in &found {
        let file = service.files.first().map_or("", String::as_str);
        journal::service_outdated(leader, &service.unit, file);
    }
    let mut failed = Vec::new();
    if policy == RestartPolicy::Safe {
        let never = &worker.config.services.never;
        let safe: Vec<&mut Outdated> = found.iter_mut().filter(|s| is_safe(s, never)).collect();
        failed = restart(leader, safe);
    }
    if let Err(error) = services::save(&worker.paths, &found) {
        tracing::warn!("{error:#}");
    }
    failed
}

/// Notes with the jobs that have changed something what still ran replaced files at their end.
pub fn note(worker: &Worker, jobs: &mut [Job]) {
    let changed = |job: &&mut Job| {
        job.request.kind == Kind::Apply
            && job.status == JobStatus::Succeeded
            && !job.changes.is_empty()
    };
    let listed = services::load(&worker.paths);
    for job in jobs.iter_mut().filter(changed) {
        job.outdated_services.clone_from(&listed);
    }
}

/// The processes that run replaced files, by their units.
fn look(worker: &Worker) -> Vec<Outdated> {
    let mut units: BTreeMap<String, Outdated> = BTreeMap::new();
    for process in processes::stale(Path::new("/proc")) {
        // the worker itself, when its own package was updated, goes when its work is done
        if process.pid == std::process::id() {
            continue;
        }
        let name = journal::plain(&process.unit);
        let unit = units.entry(name.clone()).or_insert_with(|| Outdated {
            invocation: services::invocation(&worker.paths, &name),
            unit: name,
            user: process.user,
            processes: Vec::new(),
            files: Vec::new(),
            state: Fate::Outdated,
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

/// Whether a restart harms nobody: pure.
fn is_safe(service: &Outdated, never: &[String]) -> bool {
    let name = &service.unit;
    let mut patterns = NEVER
        .iter()
        .copied()
        .chain(never.iter().map(String::as_str));
    !service.user && name.ends_with(".service") && !patterns.any(|p| matches(p, name))
}

/// Restarts the units, all at once, since they may depend on each other.
fn restart(leader: &JobId, units: Vec<&mut Outdated>) -> Vec<String> {
    let names: Vec<String> = units.iter().map(|service| service.unit.clone()).collect();
    if names.is_empty() {
        return Vec::new();
    }
    systemd::status(&format!("restarting {}", names.join(" ")));
    let states = match systemd::restart_units(names, LIMIT) {
        Ok(states) => states,
        Err(error) => return vec![format!("the services could not be restarted: {error:#}")],
    };
    let mut failed = Vec::new();
    for service in units {
        let state = states.get(&service.unit).map_or("unknown", String::as_str);
        match state {
            // refused: it is not for anybody to restart
            "refused" => {}
            "active" => {
                service.state = Fate::Restarted;
                journal::service_restarted(leader, &service.unit);
            }
            _ => {
                service.state = Fate::Failed;
                failed.push(format!(
                    "{} did not come back after its restart, it is {state}",
                    service.unit
                ));
            }
        }
    }
    failed
}

/// Whether a name matches a pattern with `*` and `?`: pure, and linear in all but hostile cases that
/// only the administrator could write.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, matched)) => {
                    star = Some((at, matched + 1));
                    p = at + 1;
                    n = matched + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
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
            state: Fate::Outdated,
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
            "patch-agent.service",
            "patch-apply@all.service",
            "init.scope",
            "session-1.scope",
            "my-own.service",
        ] {
            assert!(!is_safe(&service(unit, false), &never), "{unit}");
        }
        assert!(!is_safe(&service("x.service", true), &never));
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
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
