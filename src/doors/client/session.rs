//! The connection to the bus of this host or another, and what its errors mean.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::address::Address;
use zbus::address::transport::{Transport, Unixexec};
use zbus::message::{self, Flags};
use zbus::{Connection, DynamicType, Message, MessageStream, OwnedVariant, Type, fdo};
use zruntime::SharedRuntime;

use crate::doors::{BUS_NAME, OBJECT_PATH};
use crate::host::bus;

/// How long a call may take: `CheckHealth` waits for a refresh, polkit for a password.
const CALL_LIMIT: Duration = Duration::from_secs(330);

/// How long the door may take to start: the bus gives up after 25 seconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The unit that is the door.
const UNIT: &str = "patch-agent.service";

/// Where the calls go.
pub struct Session {
    host: Option<String>,
}

impl Session {
    pub fn new(host: Option<String>) -> Self {
        Self { host }
    }

    /// One call of the door.
    pub fn ask<R>(&self, method: &str, arguments: &(impl Serialize + DynamicType)) -> Result<R>
    where
        R: DeserializeOwned + Type,
    {
        self.agent()?.ask(method, arguments).map_err(from_bus)
    }

    /// A new connection to the door; that of another host goes through ssh, as systemctl's does.
    pub fn agent(&self) -> Result<Agent> {
        let (builder, limit, name) = match &self.host {
            None => (
                zbus::connection::Builder::system(),
                bus::CALL_LIMIT,
                "the system bus".to_owned(),
            ),
            // ssh has limits of its own, and may ask for a password meanwhile
            Some(host) => (
                zbus::connection::Builder::address(remote(host)),
                CALL_LIMIT,
                format!("the system bus of {host}"),
            ),
        };
        let bus = bus::connected(builder, limit, &name)
            .map_err(|error| NotReachable(format!("{error:#}")))?;
        started(&bus)?;
        Ok(Agent { bus })
    }
}

/// Has the bus start the door, unless it runs. The bus says at once why it cannot, where it knows; it was also seen to
/// say nothing at all.
fn started(bus: &Connection) -> Result<(), NotReachable> {
    let started = zbus::block_on(async {
        let runtime = SharedRuntime::current()?;
        // no flag is known
        let asked = (BUS_NAME, 0_u32);
        let start = bus::BUS.call::<_, u32>(bus, "StartServiceByName", &asked);
        runtime
            .timeout(START_LIMIT, start)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    });
    match started {
        Ok(_) => Ok(()),
        // a caller who may not have the door started may call it all the same, where it runs
        Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".AccessDenied") => Ok(()),
        Err(error) => Err(not_started(&error.to_string())),
    }
}

fn not_started(why: &str) -> NotReachable {
    NotReachable(format!(
        "the service {BUS_NAME} could not be started: {why}; see 'systemctl status {UNIT}'"
    ))
}

/// The door, at the other end of a connection.
pub struct Agent {
    bus: Connection,
}

impl Agent {
    /// Calls a method; its answer. polkit may ask the caller for a password meanwhile.
    pub fn ask<R>(&self, method: &str, arguments: &(impl Serialize + DynamicType)) -> fdo::Result<R>
    where
        R: DeserializeOwned + Type,
    {
        self.call(BUS_NAME, method, arguments)
    }

    /// How far the running job is, in percent.
    pub fn progress(&self) -> fdo::Result<u32> {
        let properties = "org.freedesktop.DBus.Properties";
        let percent: OwnedVariant = self.call(properties, "Get", &(BUS_NAME, "Progress"))?;
        Ok(percent.try_into()?)
    }

    fn call<R>(
        &self,
        interface: &str,
        method: &str,
        arguments: &(impl Serialize + DynamicType),
    ) -> fdo::Result<R>
    where
        R: DeserializeOwned + Type,
    {
        let call = Message::method_call(OBJECT_PATH, method)
            .destination(BUS_NAME)
            .interface(interface)
            .with_flags(Flags::ALLOW_INTERACTIVE_AUTH)
            .build(arguments)?;
        let answer = zbus::block_on(async {
            let runtime = SharedRuntime::current()?;
            let answer = runtime.timeout(CALL_LIMIT, self.answer(&call)).await;
            answer.map_err(io::Error::from)?
        })?;
        Ok(answer.body().deserialize()?)
    }

    /// The answer to a call with flags, which [`Connection::call_method`] does not take.
    async fn answer(&self, call: &Message) -> zbus::Result<Message> {
        // listens before anybody can answer
        let mut heard = pin!(MessageStream::from(&self.bus));
        self.bus.send(call).await?;
        let serial = Some(call.primary_header().serial_num());
        while let Some(message) = poll_fn(|context| heard.as_mut().poll_next(context)).await {
            let message = message?;
            if message.header().reply_serial() == serial {
                return match message.message_type() {
                    message::Type::Error => Err(message.into()),
                    _ => Ok(message),
                };
            }
        }
        Err(io::Error::from(io::ErrorKind::ConnectionAborted).into())
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
        | fdo::Error::TimedOut(why)
        | fdo::Error::NameHasNoOwner(why) => not_started(&why).into(),
        other => anyhow::anyhow!("{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_that_does_not_answer_names_its_unit() {
        for error in [
            fdo::Error::ServiceUnknown("no such name".into()),
            fdo::Error::NoReply("no reply".into()),
            fdo::Error::NameHasNoOwner("no owner".into()),
        ] {
            let error = from_bus(error);
            assert!(error.is::<NotReachable>());
            let shown = error.to_string();
            assert!(
                shown.contains("systemctl status patch-agent.service"),
                "{shown}"
            );
        }
    }

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
