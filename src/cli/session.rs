//! The connection to the bus of this host or another, and what its errors mean.

use std::future::poll_fn;
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Error, Result};
use futures_core::Stream;
use rustix::process::getuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::message::{self, Flags};
use zbus::{Connection, DynamicType, Message, MessageStream, OwnedVariant, Type, fdo};
use zruntime::SharedRuntime;

use crate::VERSION;
use crate::api::{BUS_NAME, OBJECT_PATH};
use crate::exec::{Transport, TtyAgent};
use crate::host::bus;
use crate::journal::plain;
use crate::request::Remote;

/// How long a call may take: `CheckHealth` waits for a refresh, polkit for a password.
const CALL_LIMIT: Duration = Duration::from_secs(330);

/// How long the service may take to start: the bus gives up after 25 seconds.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The unit of the service.
const UNIT: &str = "patch-agent.service";

/// Where the calls go.
pub struct Session {
    host: Option<Remote>,
}

impl Session {
    pub fn new(host: Option<Remote>) -> Self {
        Self { host }
    }

    /// Where another host is asked, that host.
    pub fn host(&self) -> Option<&Remote> {
        self.host.as_ref()
    }

    /// How `patchctl` is called for the same host, with these arguments.
    pub fn command(&self, arguments: &str) -> String {
        match &self.host {
            None => format!("patchctl {arguments}"),
            Some(host) => format!("patchctl -H {host} {arguments}"),
        }
    }

    /// One call of the service.
    pub fn ask<R>(&self, method: &str, arguments: &(impl Serialize + DynamicType)) -> Result<R>
    where
        R: DeserializeOwned + Type,
    {
        self.ask_at(&self.agent()?, method, arguments)
    }

    /// One call that changes something, for which polkit may want a password: on a terminal there is an agent that
    /// asks for it there, as systemctl has one.
    pub fn change<R>(&self, method: &str, arguments: &(impl Serialize + DynamicType)) -> Result<R>
    where
        R: DeserializeOwned + Type,
    {
        let local = self.host.is_none() && !getuid().is_root();
        let _agent = (local && io::stdin().is_terminal()).then(TtyAgent::start);
        self.ask(method, arguments)
    }

    /// The same, over a connection that is there already.
    pub fn ask_at<R>(
        &self,
        agent: &AgentConnection,
        method: &str,
        arguments: &(impl Serialize + DynamicType),
    ) -> Result<R>
    where
        R: DeserializeOwned + Type,
    {
        agent.ask(method, arguments).map_err(|error| match error {
            fdo::Error::UnknownMethod(_) => self.too_old(agent),
            // the policy of that bus is as old as its service: dbus-daemon's words, and dbus-broker's
            fdo::Error::AccessDenied(why)
                if why.contains("Rejected send message")
                    || why.contains("not authorized to send message") =>
            {
                self.too_old(agent)
            }
            other => self.failed(other),
        })
    }

    /// A new connection to the service; that of another host goes through ssh, as systemctl's does.
    pub fn agent(&self) -> Result<AgentConnection> {
        let Some(host) = &self.host else {
            let builder = zbus::connection::Builder::system();
            let bus = bus::connected(builder, bus::CALL_LIMIT, "the system bus");
            let bus = bus.map_err(|error| self.not_reachable(&format!("{error:#}")))?;
            self.started(&bus)?;
            return Ok(AgentConnection {
                bus,
                _transport: None,
            });
        };
        let (mut transport, stream) = Transport::start("ssh", &ssh_arguments(host))?;
        let builder = zbus::connection::Builder::unix_stream(stream);
        // ssh has limits of its own, and may ask for a password meanwhile
        match bus::connected(builder, CALL_LIMIT, "its system bus") {
            Ok(bus) => {
                self.started(&bus)?;
                Ok(AgentConnection {
                    bus,
                    _transport: Some(transport),
                })
            }
            Err(error) => {
                let said = transport
                    .last_error()
                    .unwrap_or_else(|| format!("{error:#}"));
                Err(self.not_reachable(&format!("{host} is not reachable: {}", plain(&said))))
            }
        }
    }

    /// What an error of the bus means for the exit code.
    pub fn failed(&self, error: fdo::Error) -> Error {
        match error {
            fdo::Error::AccessDenied(why) | fdo::Error::InteractiveAuthorizationRequired(why) => {
                Refused::NotAuthorised(why).into()
            }
            fdo::Error::InvalidArgs(why) | fdo::Error::FileNotFound(why) => {
                Refused::Usage(why).into()
            }
            fdo::Error::LimitsExceeded(why) => Refused::Busy(why).into(),
            fdo::Error::Failed(why) => anyhow::anyhow!("{why}"),
            fdo::Error::ServiceUnknown(why)
            | fdo::Error::NoReply(why)
            | fdo::Error::SpawnChildExited(why)
            | fdo::Error::NameHasNoOwner(why) => self.not_started(&why),
            fdo::Error::ZBus(zbus::Error::InputOutput(error)) => {
                self.not_reachable(&format!("the connection was lost: {error}"))
            }
            fdo::Error::Disconnected(why) | fdo::Error::TimedOut(why) => {
                self.not_reachable(&format!("the connection was lost: {why}"))
            }
            other => anyhow::anyhow!("{other}"),
        }
    }

    /// Has the bus start the service, unless it runs. The bus reports at once why it cannot, where it knows; it
    /// was also seen not to answer at all.
    fn started(&self, bus: &Connection) -> Result<()> {
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
            // a caller that may not start the service may still call it while it runs
            Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".AccessDenied") => Ok(()),
            Err(error) => Err(self.not_started(&error.to_string())),
        }
    }

    fn not_started(&self, why: &str) -> Error {
        let there = match &self.host {
            None => String::new(),
            Some(host) => format!(" on {host}"),
        };
        self.not_reachable(&format!(
            "the service {BUS_NAME} could not be started{there}: {why}; see 'systemctl status {UNIT}'"
        ))
    }

    /// Why nothing could be asked; on this host, with what works without a bus.
    fn not_reachable(&self, why: &str) -> Error {
        let hint = "on a host without systemd or a bus, 'refresh' and 'apply' take --direct";
        match &self.host {
            None => NotReachable(format!("{why}; {hint}")).into(),
            Some(_) => NotReachable(why.to_owned()).into(),
        }
    }

    /// The service does not know the method: its version is older than this one.
    fn too_old(&self, agent: &AgentConnection) -> Error {
        let where_to = match &self.host {
            None => "the service of this host".to_owned(),
            Some(host) => host.to_string(),
        };
        let version = agent
            .property("Version")
            .and_then(|v| Ok(String::try_from(v)?));
        let runs =
            version.map_or_else(|_| "an older version".to_owned(), |version| plain(&version));
        TooOld(format!(
            "{where_to} runs linux-patch-api {runs}, which does not support this; it needs {VERSION} or later"
        ))
        .into()
    }
}

/// The service, at the other end of a connection.
pub struct AgentConnection {
    bus: Connection,
    /// The program that carries the connection; after it, so that it ends after the connection.
    _transport: Option<Transport>,
}

impl AgentConnection {
    /// Calls a method; its answer. polkit may ask the caller for a password meanwhile.
    pub fn ask<R>(&self, method: &str, arguments: &(impl Serialize + DynamicType)) -> fdo::Result<R>
    where
        R: DeserializeOwned + Type,
    {
        self.call(BUS_NAME, method, arguments)
    }

    /// A property of the service.
    pub fn property(&self, name: &str) -> fdo::Result<OwnedVariant> {
        self.call("org.freedesktop.DBus.Properties", "Get", &(BUS_NAME, name))
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
        // subscribes before the service can answer
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
fn ssh_arguments(host: &Remote) -> Vec<String> {
    let options = [
        "-xT",
        "-oConnectTimeout=10",
        "-oServerAliveInterval=5",
        "-oServerAliveCountMax=3",
    ];
    let mut arguments = options.map(str::to_owned).to_vec();
    if let Some(port) = host.port() {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--", host.login(), "systemd-stdio-bridge"].map(str::to_owned));
    arguments.extend(host.container().map(|name| format!("--machine={name}")));
    arguments
}

/// The bus or the service cannot be reached.
#[derive(Debug)]
pub struct NotReachable(String);

impl NotReachable {
    /// The same, of a job that was asked for before.
    pub(super) fn of_job(self, words: &str) -> Self {
        Self(format!("{}; {words}", self.0))
    }
}

impl std::fmt::Display for NotReachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotReachable {}

/// The service is of a version that does not know the call.
#[derive(Debug)]
pub struct TooOld(String);

impl std::fmt::Display for TooOld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooOld {}

/// The service has refused the call.
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
            let error = Session::new(None).failed(error);
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
        let arguments = |host: &str| ssh_arguments(&host.parse().unwrap())[4..].join(" ");
        assert_eq!(
            arguments("root@a.example"),
            "-- root@a.example systemd-stdio-bridge"
        );
        assert_eq!(
            arguments("[fe80::1%eth0]"),
            "-- fe80::1%eth0 systemd-stdio-bridge"
        );
        assert_eq!(
            arguments("a:2222/box"),
            "-p 2222 -- a systemd-stdio-bridge --machine=box"
        );
    }

    #[test]
    fn only_this_host_takes_direct() {
        let why = |host: Option<&str>| {
            let session = Session::new(host.map(|host| host.parse().unwrap()));
            session
                .failed(fdo::Error::ServiceUnknown("x".into()))
                .to_string()
        };
        assert!(why(None).contains("--direct"));
        let remote = why(Some("web"));
        assert!(
            remote.contains(" on web: x; ") && !remote.contains("--direct"),
            "{remote}"
        );
    }
}
