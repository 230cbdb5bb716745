//! The login manager: a shutdown waits while packages change.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;

use super::systemd::system_bus;

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
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

async fn take(why: &str) -> Result<Inhibitor> {
    let bus = system_bus().await?;
    let login = LoginProxy::new(&bus).await?;
    let descriptor = login
        .inhibit("shutdown", "linux-patch-api", why, "block")
        .await?;
    Ok(Inhibitor {
        _descriptor: descriptor,
    })
}
