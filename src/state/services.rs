//! `services.json`, volatile as what it speaks of: what runs files that an update has replaced.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::paths::Paths;

/// Something that runs replaced files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outdated {
    /// The unit it belongs to.
    pub unit: String,
    /// Which run of the unit that is; empty where the service manager does not say.
    pub invocation: String,
    /// Whether it belongs to a user or a session, which the worker never restarts.
    pub user: bool,
    /// Its processes.
    pub processes: Vec<Process>,
    /// The files.
    pub files: Vec<String>,
    /// What became of it.
    pub state: RestartState,
    /// What replaces it, as a command or in a phrase; empty in lists of older versions.
    #[serde(default)]
    pub advice: String,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks since the boot.
    pub started: u64,
}

/// What became of a service that ran replaced files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartState {
    /// It still does.
    Outdated,
    /// It was restarted and is back.
    Restarted,
    /// It was restarted and did not come back.
    Failed,
}

/// Reads the list as it was written.
#[must_use]
pub fn load(paths: &Paths) -> Vec<Outdated> {
    super::read(&path(paths)).unwrap_or_default()
}

/// Writes the list, for everybody to read.
pub fn save(paths: &Paths, services: &[Outdated]) -> Result<()> {
    write_atomically(&path(paths), &serde_json::to_vec(services)?, 0o644)
}

/// What of the list still runs replaced files: not what was restarted since, by whomever.
#[must_use]
pub fn current(paths: &Paths) -> Vec<Outdated> {
    current_of(paths, &load(paths))
}

/// The same of a list that was read before.
#[must_use]
pub fn current_of(paths: &Paths, services: &[Outdated]) -> Vec<Outdated> {
    let still = |service: &&Outdated| {
        service.state == RestartState::Outdated
            && invocation(paths, &service.unit) == service.invocation
    };
    services.iter().filter(still).cloned().collect()
}

/// The unit of the service manager itself, which no command restarts: it re-executes itself.
pub const MANAGER: &str = "init.scope";

/// What the administrator does about a unit that runs replaced files: pure.
#[must_use]
pub fn advice(unit: &str, user: bool) -> String {
    match unit {
        MANAGER => "systemctl daemon-reexec".to_owned(),
        unit if ONLY_BY_REBOOT.contains(&unit) => "a reboot".to_owned(),
        _ if user => "a new login of its user".to_owned(),
        // processes that no service manager has started, and that it can only stop
        unit if !unit.ends_with(".service") => format!("a restart of what runs in {unit}"),
        unit => format!("systemctl restart {unit}"),
    }
}

/// Which run of a unit this is: what systemd leaves for journald, empty where it leaves nothing. For the
/// service manager itself, which goes on as the same process, it is its private socket: that is created again at
/// each re-execution, and at nothing else (FACTS 65).
#[must_use]
pub fn invocation(paths: &Paths, unit: &str) -> String {
    if unit == MANAGER {
        let socket = fs::metadata(paths.host(MANAGER_SOCKET));
        return socket.map_or_else(
            |_| String::new(),
            |socket| format!("{}-{}", socket.ino(), socket.ctime()),
        );
    }
    let link = paths.host(&format!("/run/systemd/units/invocation:{unit}"));
    let id = fs::read_link(link).unwrap_or_default();
    id.to_string_lossy().into_owned()
}

/// The private socket of the service manager.
pub const MANAGER_SOCKET: &str = "/run/systemd/private";

/// The units that nothing but a reboot replaces.
const ONLY_BY_REBOOT: [&str; 2] = ["dbus.service", "dbus-broker.service"];

/// Why a reboot is needed: the bus runs replaced files. The service manager need only re-execute itself.
#[must_use]
pub fn reboot_reasons(paths: &Paths) -> Vec<String> {
    let services = current(paths);
    let lasting = services
        .iter()
        .filter(|service| ONLY_BY_REBOOT.contains(&service.unit.as_str()));
    lasting
        .map(|service| {
            let unit = &service.unit;
            let file = service.files.first().map_or("a file", String::as_str);
            format!("{unit} still runs {file} as it was before an update")
        })
        .collect()
}

/// The path of the list.
#[must_use]
pub fn path(paths: &Paths) -> std::path::PathBuf {
    paths.run().join("services.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_restarted_since_is_not_listed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let links = paths.host("/run/systemd/units");
        fs::create_dir_all(&links).unwrap();
        fs::create_dir_all(paths.run()).unwrap();
        let service = |unit: &str| Outdated {
            unit: unit.into(),
            invocation: "abc".into(),
            user: false,
            processes: vec![],
            files: vec!["/usr/lib/libc.so.6".into()],
            state: RestartState::Outdated,
            advice: String::new(),
        };
        save(&paths, &[service("a.service"), service("dbus.service")]).unwrap();
        for (unit, id) in [("a.service", "def"), ("dbus.service", "abc")] {
            std::os::unix::fs::symlink(id, links.join(format!("invocation:{unit}"))).unwrap();
        }
        let units: Vec<String> = current(&paths).into_iter().map(|s| s.unit).collect();
        assert_eq!(units, ["dbus.service"]);
        assert!(reboot_reasons(&paths)[0].starts_with("dbus.service still runs"));
    }

    #[test]
    fn the_service_manager_asks_for_a_re_execution_and_not_for_a_reboot() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let socket = paths.host(MANAGER_SOCKET);
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        fs::create_dir_all(paths.run()).unwrap();
        fs::write(&socket, "").unwrap();
        let manager = Outdated {
            unit: MANAGER.into(),
            invocation: invocation(&paths, MANAGER),
            user: false,
            processes: vec![],
            files: vec!["/usr/lib/libkmod.so.2".into()],
            state: RestartState::Outdated,
            advice: advice(MANAGER, false),
        };
        assert_eq!(manager.advice, "systemctl daemon-reexec");
        save(&paths, std::slice::from_ref(&manager)).unwrap();
        assert_eq!(current(&paths), [manager]);
        assert!(reboot_reasons(&paths).is_empty());
        fs::write(socket.with_extension("new"), "").unwrap();
        fs::rename(socket.with_extension("new"), &socket).unwrap();
        assert!(current(&paths).is_empty(), "it has re-executed itself");
    }

    #[test]
    fn what_is_advised_can_be_done() {
        for (unit, user, advised) in [
            ("ssh.service", false, "systemctl restart ssh.service"),
            ("init.scope", false, "systemctl daemon-reexec"),
            ("dbus.service", false, "a reboot"),
            ("session-3.scope", true, "a new login of its user"),
            ("user@1000.service", true, "a new login of its user"),
            (
                "docker-1f.scope",
                false,
                "a restart of what runs in docker-1f.scope",
            ),
        ] {
            assert_eq!(advice(unit, user), advised);
        }
    }
}
