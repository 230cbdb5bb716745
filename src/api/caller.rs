//! Who is behind a call: the login that the calling process belongs to.

use std::path::Path;

use zbus::Connection;
use zbus::message::Header;

use crate::host::bus::BUS;
use crate::host::login;
use crate::request::Login;

/// Where processes are seen.
const PROC: &str = "/proc";

/// The login of a process.
#[must_use]
pub fn login_of(pid: u32) -> Login {
    let (uid, session) = login::of(Path::new(PROC), &pid.to_string());
    Login { uid, session }
}

/// The login of this very process.
#[must_use]
pub fn own_login() -> Login {
    login_of(std::process::id())
}

/// The login of the process that has sent a message; none where it is gone. It is recorded, and decides nothing.
pub async fn login_of_sender(bus: &Connection, header: &Header<'_>) -> Login {
    let Some(sender) = header.sender() else {
        return Login::default();
    };
    let asked = (sender.as_str(),);
    let pid = async || -> Option<u32> {
        let pid = BUS.call(bus, "GetConnectionUnixProcessID", &asked).await;
        pid.ok()
    };
    let Some(before) = pid().await else {
        return Login::default();
    };
    let login = login_of(before);
    // as long as it is on the bus, no other process has its number
    if pid().await == Some(before) {
        login
    } else {
        Login::default()
    }
}
