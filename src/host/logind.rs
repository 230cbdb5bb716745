//! The login manager: a shutdown waits while packages change.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use super::systemd::{CALL_LIMIT, system_bus};

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    fn set_wall_message(&self, message: &str, enable: bool) -> zbus::Result<()>;
    fn schedule_shutdown(&self, what: &str, at: u64) -> zbus::Result<()>;
    fn cancel_scheduled_shutdown(&self) -> zbus::Result<bool>;
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<zbus::OwnedFd>;
}

/// Holds off a shutdown until dropped (`systemd-inhibit --list` shows it).
#[derive(Debug)]
pub struct Inhibitor {
    _descriptor: zbus::OwnedFd,
}

/// Takes the inhibitor; `None` on a host without logind, where nothing could be held off anyway.
#[must_use]
pub fn inhibit_shutdown(why: &str) -> Option<Inhibitor> {
    let why = why.to_owned();
    let (done, wait) = mpsc::channel();
    // connecting has no time limit of its own, so it must not be waited for without one
    std::thread::spawn(move || {
        let _ = done.send(zbus::block_on(take(&why)));
    });
    match wait.recv_timeout(Duration::from_secs(10)) {
        Ok(Ok(inhibitor)) => Some(inhibitor),
        Ok(Err(error)) => {
            tracing::debug!("shutdown is not inhibited: {error:#}");
            None
        }
        Err(_) => None,
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
    let asked = within(CALL_LIMIT, async move |login| {
        login.set_wall_message(&message, true).await?;
        login.schedule_shutdown("reboot", usec).await
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
    within(CALL_LIMIT, async |login| {
        login.cancel_scheduled_shutdown().await.map(drop)
    })
}

/// A call, and not longer than that: connecting has no time limit of its own.
fn within(
    limit: Duration,
    call: impl AsyncFnOnce(LoginProxy<'static>) -> zbus::Result<()> + Send + 'static,
) -> Result<()> {
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let asked = zbus::block_on(async {
            let login = LoginProxy::new(&system_bus()?).await?;
            anyhow::Ok(call(login).await?)
        });
        let _ = done.send(asked);
    });
    let answer = wait.recv_timeout(limit);
    answer.context("the login manager did not answer in time")?
}

async fn take(why: &str) -> Result<Inhibitor> {
    let bus = system_bus()?;
    let login = LoginProxy::new(&bus).await?;
    let descriptor = login
        .inhibit("shutdown", "linux-patch-api", why, "block")
        .await?;
    Ok(Inhibitor {
        _descriptor: descriptor,
    })
}
