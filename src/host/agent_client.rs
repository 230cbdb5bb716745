//! A client of our own D-Bus service: which program answers there, and in which version.

use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use zbus::OwnedVariant;

use super::bus::{BUS, within};

/// The path of the installed program.
pub const PROGRAM: &str = "/usr/bin/patchctl";

const NAME: &str = "org.linux_patch.Agent1";
const OBJECT: &str = "/org/linux_patch/Agent1";

/// What became of a question for the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionAnswer {
    /// A process that runs the installed program says this version.
    Installed(String),
    /// A process that was started from a file which is not the installed one any more says this version.
    Former(String),
    /// The service did not answer, or not in time; why.
    Silence(String),
    /// The service cannot answer: there is no bus, or the administrator has disabled the service.
    Shut(String),
}

/// Asks for the property `Version`, which starts the service unless it runs; waits `limit` at most.
#[must_use]
pub fn ask(limit: Duration) -> VersionAnswer {
    match within(limit, move || zbus::block_on(version(limit))) {
        Some(Ok(answer)) => answer,
        Some(Err(error)) => silence(&error),
        None => VersionAnswer::Silence("no answer in time".to_owned()),
    }
}

async fn version(limit: Duration) -> Result<VersionAnswer> {
    let bus = zbus::connection::Builder::system().method_timeout(limit);
    let bus = match bus.build().await {
        Err(error) if is_no_bus(&error) => return Ok(VersionAnswer::Shut(error.to_string())),
        other => other?,
    };
    let reply = bus
        .call_method(
            Some(NAME),
            OBJECT,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(NAME, "Version"),
        )
        .await?;
    let header = reply.header();
    let sender = header.sender().context("an answer from nobody")?;
    let version = String::try_from(reply.body().deserialize::<OwnedVariant>()?)?;
    let sender = (sender.as_str(),);
    let pid = BUS
        .call(&bus, "GetConnectionUnixProcessID", &sender)
        .await?;
    Ok(if runs_the_installed_program(pid)? {
        VersionAnswer::Installed(version)
    } else {
        VersionAnswer::Former(version)
    })
}

/// Whether the file this process was started from has given way to another one: an upgrade came.
#[must_use]
pub fn was_replaced() -> bool {
    // proc_pid_exe(5)
    std::fs::read_link("/proc/self/exe")
        .is_ok_and(|path| path.as_os_str().as_bytes().ends_with(b" (deleted)"))
}

/// An upgrade puts another file in the place of the one that a process keeps running.
fn runs_the_installed_program(pid: u32) -> io::Result<bool> {
    let identity = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino()));
    let running = identity(Path::new(&format!("/proc/{pid}/exe")))?;
    Ok(running == identity(Path::new(PROGRAM))?)
}

/// Whether no process listens on the socket of the bus.
fn is_no_bus(error: &zbus::Error) -> bool {
    let (zbus::Error::Connection(error, _) | zbus::Error::InputOutput(error)) = error else {
        return false;
    };
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

fn silence(error: &anyhow::Error) -> VersionAnswer {
    let why = format!("{error:#}");
    match error.downcast_ref::<zbus::Error>() {
        Some(zbus::Error::MethodError(name, ..))
            if name.as_str() == "org.freedesktop.systemd1.UnitMasked" =>
        {
            VersionAnswer::Shut(why)
        }
        _ => VersionAnswer::Silence(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_bus_is_told_from_a_silent_one() {
        let bus = zbus::connection::Builder::address("unix:path=/nowhere");
        let nowhere = zbus::block_on(bus.build());
        assert!(is_no_bus(&nowhere.unwrap_err()));
        assert!(!is_no_bus(&zbus::Error::InvalidReply));
    }
}
