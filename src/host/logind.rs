//! The login manager: shutdown and sleep wait while packages change, and a reboot is scheduled afterwards.

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

/// Who we are to the login manager.
const WHO: &str = "linux-patch-api";

/// What is held off: no host goes to sleep with half a package either (apt 3.3 does the same).
const WHAT: &str = "shutdown:sleep";

/// How long our own lock may take to be gone: the login manager learns of it behind everything else.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// How often it is asked meanwhile.
const RELEASE_INTERVAL: Duration = Duration::from_millis(50);

/// Holds off shutdown and sleep until dropped (`systemd-inhibit --list` shows it).
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

/// Who holds off a shutdown by a lock that blocks it, in a phrase each. Our own lock, which was given back
/// before, is waited for until it is gone.
pub fn shutdown_holders() -> Result<Vec<String>> {
    let mut left = RELEASE_LIMIT;
    loop {
        let locks = locks()?;
        let blocking = locks.iter().filter(|lock| lock.blocks_shutdown());
        if left.is_zero() || !blocking.clone().any(|lock| lock.who == WHO) {
            return Ok(blocking.map(ToString::to_string).collect());
        }
        std::thread::sleep(RELEASE_INTERVAL);
        left = left.saturating_sub(RELEASE_INTERVAL);
    }
}

/// An inhibitor lock that a process holds.
struct Held {
    what: String,
    who: String,
    why: String,
    mode: String,
    pid: u32,
}

impl Held {
    fn blocks_shutdown(&self) -> bool {
        self.mode == "block" && self.what.split(':').any(|what| what == "shutdown")
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { who, why, pid, .. } = self;
        write!(f, "{who} (process {pid}) inhibits a shutdown: {why}")
    }
}

/// Every lock there is.
fn locks() -> Result<Vec<Held>> {
    type Lock = (String, String, String, String, u32, u32);
    let locks = ask(async |bus| LOGIN.call(&bus, "ListInhibitors", &()).await)?;
    let held = |(what, who, why, mode, _, pid): Lock| Held {
        what,
        who,
        why,
        mode,
        pid,
    };
    Ok(Vec::into_iter(locks).map(held).collect())
}

/// Why no reboot was scheduled.
#[derive(Debug)]
pub enum Refusal {
    /// There is no logind on this host.
    Absent(String),
    /// logind refuses: another process blocks shutdown, for instance.
    Refused(String),
}

/// Schedules a reboot, of which logind notifies the users who are logged in.
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

/// Cancels a scheduled shutdown, whichever program or person scheduled it.
pub fn cancel_shutdown() -> Result<()> {
    ask(async |bus| {
        let was_one = LOGIN.call(&bus, "CancelScheduledShutdown", &()).await;
        was_one.map(|_: bool| ())
    })
}

/// Calls of the login manager, as long as one may take.
fn ask<T: Send + 'static>(
    call: impl AsyncFnOnce(Connection) -> zbus::Result<T> + Send + 'static,
) -> Result<T> {
    let answer = within(CALL_LIMIT, move || {
        zbus::block_on(async { anyhow::Ok(call(system_bus()?).await?) })
    });
    answer.context("the login manager did not answer in time")?
}

async fn take(why: &str) -> Result<Inhibitor> {
    let inhibitor = (WHAT, WHO, why, "block");
    let descriptor = LOGIN.call(&system_bus()?, "Inhibit", &inhibitor).await?;
    Ok(Inhibitor {
        _descriptor: descriptor,
    })
}
