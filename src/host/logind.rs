//! The login manager: a shutdown waits while packages change.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use zbus::Connection;

use super::bus::{CALL_LIMIT, Object, system_bus, within};

/// The login manager.
const LOGIN: Object = Object {
    service: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
};

/// How long a shutdown that is held off may take to be so.
const INHIBIT_LIMIT: Duration = Duration::from_secs(10);

/// Holds off a shutdown until dropped (`systemd-inhibit --list` shows it).
#[derive(Debug)]
pub struct Inhibitor {
    _descriptor: zbus::OwnedFd,
}

/// Takes the inhibitor; `None` on a host without logind, where nothing could be held off anyway.
#[must_use]
pub fn inhibit_shutdown(why: &str) -> Option<Inhibitor> {
    let why = why.to_owned();
    match within(INHIBIT_LIMIT, move || zbus::block_on(take(&why)))? {
        Ok(inhibitor) => Some(inhibitor),
        Err(error) => {
            tracing::debug!("shutdown is not inhibited: {error:#}");
            None
        }
    }
}

/// Why no reboot was scheduled.
#[derive(Debug)]
pub enum Refusal {
    /// There is no logind on this host.
    Absent(String),
    /// It says no: somebody holds off a shutdown, for instance.
    Refused(String),
}

/// Has the host rebooted at a time, and those who are logged in told.
pub fn schedule_reboot(at: DateTime<Utc>, message: &str) -> Result<(), Refusal> {
    let usec = u64::try_from(at.timestamp_micros()).unwrap_or(0);
    let message = message.to_owned();
    let asked = ask(async move |bus| {
        let () = LOGIN.call(&bus, "SetWallMessage", &(message, true)).await?;
        LOGIN
            .call(&bus, "ScheduleShutdown", &("reboot", usec))
            .await
    });
    asked.map_err(|error| match error.downcast_ref() {
        Some(zbus::Error::MethodError(name, ..)) if name.starts_with("org.freedesktop.login1.") => {
            Refusal::Refused(format!("{error:#}"))
        }
        Some(zbus::Error::FDO(fdo)) => match &**fdo {
            zbus::fdo::Error::AccessDenied(_)
            | zbus::fdo::Error::InteractiveAuthorizationRequired(_) => {
                Refusal::Refused(format!("{error:#}"))
            }
            _ => Refusal::Absent(format!("{error:#}")),
        },
        _ => Refusal::Absent(format!("{error:#}")),
    })
}

/// Takes a scheduled shutdown back, whoever asked for it.
pub fn cancel_shutdown() -> Result<()> {
    ask(async |bus| {
        let was_one = LOGIN.call(&bus, "CancelScheduledShutdown", &()).await;
        was_one.map(|_: bool| ())
    })
}

/// Calls of the login manager, as long as one may take.
fn ask(call: impl AsyncFnOnce(Connection) -> zbus::Result<()> + Send + 'static) -> Result<()> {
    let answer = within(CALL_LIMIT, move || {
        zbus::block_on(async { anyhow::Ok(call(system_bus()?).await?) })
    });
    answer.context("the login manager did not answer in time")?
}

async fn take(why: &str) -> Result<Inhibitor> {
    let inhibitor = ("shutdown", "linux-patch-api", why, "block");
    let descriptor = LOGIN.call(&system_bus()?, "Inhibit", &inhibitor).await?;
    Ok(Inhibitor {
        _descriptor: descriptor,
    })
}
