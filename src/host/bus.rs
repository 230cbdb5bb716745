//! The bus as a client sees it: connections that come about or fail, and plain calls.
//!
//! Calls are spelt out, not generated: a typed proxy for each interface, its cache of properties and
//! its watch over the other side's name were 0.1 MB of unused code in the program.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::{Connection, DynamicType, OwnedVariant, Type};

/// How long a call on the bus may take: zbus has no limit of its own.
pub const CALL_LIMIT: Duration = Duration::from_secs(25);

/// The bus itself.
pub const BUS: Object = Object {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// A connection to the system bus whose calls end. So does connecting, which has no time limit of its own:
/// the service manager's socket accepts also while a bus that was just replaced does not answer.
pub fn system_bus() -> Result<Connection> {
    let bus = zbus::connection::Builder::system().method_timeout(CALL_LIMIT);
    connected(bus, CALL_LIMIT, "the system bus")
}

/// Connects to a bus of that name, and not longer than that.
pub fn connected(
    bus: zbus::connection::Builder<'static>,
    limit: Duration,
    name: &str,
) -> Result<Connection> {
    match within(limit, || zbus::block_on(bus.build())) {
        Some(bus) => bus.with_context(|| format!("{name} is not reachable")),
        None => bail!("{name} did not answer within {} s", limit.as_secs()),
    }
}

/// Works in a thread of its own, and waits for it not longer than that: neither connecting nor what is
/// asked with several calls has an end of its own. `None` when the time is up; the caller then waits no longer.
pub fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    let store = move || {
        let done = work();
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    };
    wait_for(limit, Box::new(store));
    result.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Apart from [`within`], so that it is there once and not for every type of result.
fn wait_for(limit: Duration, work: Box<dyn FnOnce() + Send>) {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(limit);
}

/// What is called: one interface of an object.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// Whose object it is, by a name on the bus.
    pub service: &'a str,
    /// The path of the object.
    pub path: &'a str,
    /// The interface that has the method.
    pub interface: &'a str,
}

impl Object<'_> {
    /// Calls a method; its answer.
    pub async fn call<A, R>(&self, bus: &Connection, method: &str, arguments: &A) -> zbus::Result<R>
    where
        A: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        let answer = bus
            .call_method(
                Some(self.service),
                self.path,
                Some(self.interface),
                method,
                arguments,
            )
            .await?;
        answer.body().deserialize()
    }

    /// Reads a property of the interface.
    pub async fn property(&self, bus: &Connection, name: &str) -> zbus::Result<OwnedVariant> {
        let properties = Object {
            interface: "org.freedesktop.DBus.Properties",
            ..*self
        };
        properties.call(bus, "Get", &(self.interface, name)).await
    }
}
