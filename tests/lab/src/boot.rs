//! systemd-nspawn: starts the systemd of a host and notices, without polling, when the boot is done or the host has gone.

use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cgroup::Cgroup;
use crate::command::{self, ENTER_CGROUP};
use crate::scratch::Scratch;

/// A boot takes half a second. This is for a machine that is busy with everything else, and for a host that heals
/// an update of a hundred packages meanwhile: systemd says that it is ready when no job of the boot is left.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// The exit status by which systemd-nspawn says "start me again".
pub(crate) const REBOOT: i32 = 133;

/// A booted host: the container manager and the systemd in it.
pub(crate) struct Running {
    nspawn: Child,
    pid1: u32,
}

impl Running {
    /// Boots the tree of `scratch` and returns when systemd says that it has started everything.
    pub(crate) fn boot(scratch: &Scratch, hostname: &str) -> Result<Self> {
        let socket = scratch.directory().join("notify");
        let _ = fs::remove_file(&socket);
        let notifications = UnixDatagram::bind(&socket)
            .with_context(|| format!("failed to listen on '{}'", socket.display()))?;
        let mut nspawn = nspawn(scratch, &scratch.cgroup()?.leaf("boot")?, hostname)?
            .env("NOTIFY_SOCKET", &socket)
            .spawn()
            .context("failed to start systemd-nspawn")?;
        match wait_until_ready(&mut nspawn, &notifications) {
            Ok(pid1) => Ok(Self { nspawn, pid1 }),
            Err(error) => {
                scratch.cgroup()?.kill()?;
                nspawn.wait()?;
                Err(error.context(format!("console of the host:\n{}", console(scratch))))
            }
        }
    }

    /// The process id of the host's systemd, as the machine sees it.
    pub(crate) fn pid1(&self) -> u32 {
        self.pid1
    }

    /// Waits until the host has shut down, and returns the exit status of its container manager.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<i32> {
        let status =
            command::wait(&mut self.nspawn, limit)?.context("the host does not shut down")?;
        Ok(command::status_code(status))
    }
}

/// The last lines the host printed on its console.
pub(crate) fn console(scratch: &Scratch) -> String {
    let console = fs::read(scratch.directory().join("console")).unwrap_or_default();
    let console = String::from_utf8_lossy(&console);
    let lines: Vec<&str> = console.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn nspawn(scratch: &Scratch, cgroup: &Cgroup, hostname: &str) -> Result<Command> {
    let path = scratch.directory().join("console");
    let console = File::options().create(true).append(true).open(&path);
    let console = console.with_context(|| format!("failed to open '{}'", path.display()))?;
    let mut command = Command::new("sh");
    command
        .args(["-c", ENTER_CGROUP, "sh"])
        .arg(cgroup.entrance())
        .args(["systemd-nspawn", "--boot", "--quiet", "--notify-ready=yes"])
        // nothing but the arguments decides what the host is like, and nothing of it is registered on the machine
        .args([
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
        ])
        .args([
            "--machine",
            scratch.id(),
            "--hostname",
            hostname,
            "--directory",
        ])
        .arg(scratch.root())
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .env("SYSTEMD_NSPAWN_LOCK", "0") // a killed one would leave its lock file in /run for ever
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console);
    if let Some(namespace) = scratch.network_namespace() {
        command.arg("--network-namespace-path").arg(namespace);
    }
    Ok(command)
}

/// nspawn names the host's PID 1 when it has started it, and passes on `READY=1` when the boot is complete.
fn wait_until_ready(nspawn: &mut Child, notifications: &UnixDatagram) -> Result<u32> {
    notifications.set_read_timeout(Some(Duration::from_millis(100)))?;
    let limit = Instant::now() + BOOT_LIMIT;
    let mut pid1 = None;
    let mut buffer = [0; 4096];
    while Instant::now() < limit {
        let Ok(length) = notifications.recv(&mut buffer) else {
            if let Some(status) = nspawn.try_wait()? {
                bail!("the host died while booting: {status}");
            }
            continue;
        };
        for line in String::from_utf8_lossy(&buffer[..length]).lines() {
            if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                pid1 = Some(pid.parse().context("systemd-nspawn names no process")?);
            }
            if line == "READY=1"
                && let Some(pid1) = pid1
            {
                return Ok(pid1);
            }
        }
    }
    bail!("the host did not finish booting within {BOOT_LIMIT:?}")
}
