//! The connection to the bus of this host or another, and what its errors mean.

use std::time::Duration;

use anyhow::{Context, Result};
use zbus::address::Address;
use zbus::address::transport::{Transport, Unixexec};
use zbus::fdo;
use zbus::proxy::CacheProperties;

use crate::doors::value::Dictionary;
use crate::host::systemd;

/// How long a call may take: `CheckHealth` waits for a refresh, polkit for a password.
const CALL_LIMIT: Duration = Duration::from_secs(330);

#[zbus::proxy(
    interface = "org.linux_patch.Agent1",
    default_service = "org.linux_patch.Agent1",
    default_path = "/org/linux_patch/Agent1"
)]
pub trait Agent {
    fn check_health(&self) -> fdo::Result<Dictionary>;
    #[zbus(allow_interactive_auth)]
    fn refresh(&self) -> fdo::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn apply(&self, packages: &[String], options: Dictionary) -> fdo::Result<String>;
    fn plan(&self, packages: &[String], options: Dictionary) -> fdo::Result<Dictionary>;
    #[zbus(allow_interactive_auth)]
    fn cancel(&self, job: &str) -> fdo::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn resolve(&self, job: &str, decision: &str) -> fdo::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn rollback(&self, job: &str, options: Dictionary) -> fdo::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn forget(&self, job: &str) -> fdo::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn acknowledge(&self, key: &str) -> fdo::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn reboot(&self, options: Dictionary) -> fdo::Result<()>;
    fn list_updates(&self) -> fdo::Result<Vec<Dictionary>>;
    fn list_jobs(&self, options: Dictionary) -> fdo::Result<Vec<Dictionary>>;
    fn list_conflicts(&self) -> fdo::Result<Vec<Dictionary>>;
    fn get_job(&self, job: &str) -> fdo::Result<Dictionary>;
    fn get_job_log(&self, job: &str) -> fdo::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> fdo::Result<u32>;
}

/// Where the calls go.
pub struct Session {
    host: Option<String>,
}

impl Session {
    pub fn new(host: Option<String>) -> Self {
        Self { host }
    }

    /// One call of the door.
    pub fn ask<T>(
        &self,
        call: impl AsyncFnOnce(AgentProxy<'static>) -> fdo::Result<T>,
    ) -> Result<T> {
        zbus::block_on(async { call(self.agent().await?).await.map_err(from_bus) })
    }

    /// A new connection to the door; that of another host goes through ssh, as systemctl's does.
    pub async fn agent(&self) -> Result<AgentProxy<'static>> {
        let (builder, limit, name) = match &self.host {
            None => (
                zbus::connection::Builder::system(),
                systemd::CALL_LIMIT,
                "the system bus".to_owned(),
            ),
            // ssh has limits of its own, and may ask for a password meanwhile
            Some(host) => (
                zbus::connection::Builder::address(remote(host)),
                CALL_LIMIT,
                format!("the system bus of {host}"),
            ),
        };
        let bus = systemd::connected(builder.method_timeout(CALL_LIMIT), limit, &name)
            .map_err(|error| NotReachable(format!("{error:#}")))?;
        AgentProxy::builder(&bus)
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .context("the bus cannot be used")
    }
}

/// How another host's bus is reached: systemctl's arguments, and options by which ssh notices within
/// 20 seconds that the link is gone. Without them a call on a dead link waits as long as TCP does,
/// which is longer than a waiting client is patient.
fn remote(host: &str) -> Address {
    let arguments = [
        "-xT",
        "-oConnectTimeout=10",
        "-oServerAliveInterval=5",
        "-oServerAliveCountMax=3",
        "--",
        host,
        "systemd-stdio-bridge",
    ];
    // put together, not parsed: zbus leaves the escapes of a text in place
    let ssh = Unixexec::new("ssh".into(), None, arguments.map(Into::into).to_vec());
    Transport::Unixexec(ssh).into()
}

/// The bus or the door cannot be reached.
#[derive(Debug)]
pub struct NotReachable(String);

impl NotReachable {
    pub(super) fn new(why: String) -> Self {
        Self(why)
    }
}

impl std::fmt::Display for NotReachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hint = "on a host without systemd or a bus, 'refresh' and 'apply' take --direct";
        write!(f, "{}; {hint}", self.0)
    }
}

impl std::error::Error for NotReachable {}

/// The door has answered, and the answer is no.
#[derive(Debug)]
pub enum Refused {
    /// The caller may not do this.
    NotAuthorised(String),
    /// Not now.
    Busy(String),
    /// The question was wrong.
    Usage(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotAuthorised(why) | Self::Busy(why) | Self::Usage(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Refused {}

/// What an error of the bus means for the exit code.
pub fn from_bus(error: fdo::Error) -> anyhow::Error {
    match error {
        fdo::Error::AccessDenied(why) | fdo::Error::InteractiveAuthorizationRequired(why) => {
            Refused::NotAuthorised(why).into()
        }
        fdo::Error::InvalidArgs(why) | fdo::Error::FileNotFound(why) => Refused::Usage(why).into(),
        fdo::Error::LimitsExceeded(why) => Refused::Busy(why).into(),
        fdo::Error::Failed(why) => anyhow::anyhow!("{why}"),
        fdo::Error::ServiceUnknown(why)
        | fdo::Error::NoReply(why)
        | fdo::Error::SpawnChildExited(why)
        | fdo::Error::NameHasNoOwner(why) => {
            NotReachable(format!("the service is not reachable: {why}")).into()
        }
        other => anyhow::anyhow!("{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_argument_of_ssh() {
        for host in ["root@a.example", "a,argv5=x", "[fe80::1%eth0]"] {
            let Transport::Unixexec(ssh) = remote(host).transport().clone() else {
                panic!("not ssh");
            };
            assert_eq!(ssh.args()[4..], ["--", host, "systemd-stdio-bridge"]);
        }
    }
}
