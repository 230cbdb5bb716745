//! The D-Bus service: unprivileged, started by a call, stopped when idle.

mod agent;
mod alert_cursor;

mod call_slots;
mod changing;
mod reply;
mod signals;
mod socket;

use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use zbus::Connection;
use zbus::fdo::{ReleaseNameReply, RequestNameFlags, RequestNameReply};
use zruntime::SharedRuntime;
use zruntime::signal::{Signal, Signals};

pub use agent::Agent;

use self::signals::tell;
use crate::api::service::Service;
use crate::api::watch::RecordWatch;
use crate::api::{BUS_NAME, OBJECT_PATH};
use crate::host::bus::BUS;
use crate::paths::Paths;

/// How long calls that were sent to our name are still served after it is given up (FACTS 67: any
/// other way loses calls).
const AFTER_RELEASE: Duration = Duration::from_millis(50);

/// How many messages wait at most until they are looked at; more wait in the bus.
const QUEUED: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Serves the bus until no client has called for `idle`.
pub fn serve(paths: Paths, idle: Duration) -> Result<()> {
    zbus::block_on(run(paths, idle))
}

async fn run(paths: Paths, idle: Duration) -> Result<()> {
    let runtime = SharedRuntime::current()?;
    let door = Arc::new(Service::new(paths.clone()));
    let records = RecordWatch::new(&runtime, &paths)?;
    // the object is there before the name is
    let bus = socket::system_bus(&runtime)
        .context("the system bus is not reachable")?
        .max_queued(QUEUED)
        .serve_at(OBJECT_PATH, Agent::new(Arc::clone(&door)));
    let bus = bus.build().await;
    let bus = bus.context("the system bus is not reachable")?;
    door.serves(bus.clone());
    own_name(&bus)
        .await
        .with_context(|| format!("failed to own the name {BUS_NAME} on the system bus"))?;
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving the bus")])?;
    let (told, teller) = (Arc::clone(&door), bus.clone());
    let teller = runtime.spawn("tell", async move {
        if let Err(error) = tell(told, teller, records).await {
            tracing::warn!("changes can no longer be signalled: {error:#}");
        }
    });
    serve_until_idle(&runtime, &door, &bus, teller, idle).await?;
    if bus.is_closed() {
        // no call can arrive any more, and callers on the next bus need a service that is connected to it
        sd_notify::notify(&[NotifyState::Stopping])?;
        tracing::info!(
            "the system bus has closed the connection; the next call starts the service again"
        );
        return Ok(());
    }
    leave(&runtime, &door, &bus).await
}

/// Serves until no call has come for `idle`, a signal asks the service to stop (an upgrade of this package sends one to
/// the old program; no call is lost then either), the bus has gone, or signals cannot be sent any more.
async fn serve_until_idle(
    runtime: &SharedRuntime,
    door: &Service,
    bus: &Connection,
    teller: impl Future,
    idle: Duration,
) -> Result<()> {
    let mut signals = Signals::new(runtime, [Signal::Terminate, Signal::Interrupt])?;
    let (mut closed, mut teller) = (pin!(bus.closed()), pin!(teller));
    loop {
        let left = idle.saturating_sub(door.idle().await);
        if left.is_zero() {
            return Ok(());
        }
        let mut asked = pin!(signals.recv());
        let over = poll_fn(|context| {
            let is_over = asked.as_mut().poll(context).is_ready()
                || closed.as_mut().poll(context).is_ready()
                || teller.as_mut().poll(context).is_ready();
            if is_over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let left = left.max(Duration::from_millis(10));
        if runtime.timeout(left, over).await.is_ok() {
            return Ok(());
        }
    }
}

/// Owns the name, which no other process can take over, or fails. The caller that started the service waits for it:
/// zbus would first subscribe to changes of the name's owner, which takes two more calls.
async fn own_name(bus: &Connection) -> Result<()> {
    let asked = (BUS_NAME, RequestNameFlags::DO_NOT_QUEUE);
    match BUS.call(bus, "RequestName", &asked).await? {
        RequestNameReply::PrimaryOwner => Ok(()),
        other => bail!("{other}"),
    }
}

/// Gives the name up without losing a call: from `STOPPING=1` on, the service manager starts a new
/// instance for new calls, and those that are in our queue already are still served.
async fn leave(runtime: &SharedRuntime, door: &Service, bus: &Connection) -> Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])?;
    let _: ReleaseNameReply = BUS.call(bus, "ReleaseName", &(BUS_NAME,)).await?;
    runtime.sleep(AFTER_RELEASE).await;
    while door.activity.idle().is_zero() {
        runtime.sleep(AFTER_RELEASE).await;
    }
    Ok(())
}
