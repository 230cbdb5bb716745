//! The D-Bus door: unprivileged, woken by a call, gone when idle.

mod agent;
mod answer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use zbus::Connection;
use zbus::fdo::{ReleaseNameReply, RequestNameFlags, RequestNameReply};
use zruntime::SharedRuntime;
use zruntime::signal::{Signal, Signals};

pub use agent::Agent;

use super::door::Door;
use super::tell::tell;
use super::watch::Records;
use super::{BUS_NAME, OBJECT_PATH};
use crate::host::bus::BUS;
use crate::paths::Paths;

/// How long calls that were sent to our name are still served after it is given up (measured: any
/// other way loses calls).
const AFTER_RELEASE: Duration = Duration::from_millis(50);

/// Serves the bus until nobody has called for `idle`.
pub fn serve(paths: Paths, idle: Duration) -> Result<()> {
    zbus::block_on(run(paths, idle))
}

async fn run(paths: Paths, idle: Duration) -> Result<()> {
    let runtime = SharedRuntime::current()?;
    let door = Arc::new(Door::new(paths.clone()));
    let records = Records::new(&runtime, &paths)?;
    // the object is there before the name is
    let bus = zbus::connection::Builder::system()
        .serve_at(OBJECT_PATH, Agent::new(Arc::clone(&door)))
        .build()
        .await
        .context("the system bus is not reachable")?;
    door.serves(bus.clone());
    own_name(&bus)
        .await
        .with_context(|| format!("failed to own the name {BUS_NAME} on the system bus"))?;
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving the bus")])?;
    let teller = runtime.spawn("tell", tell(Arc::clone(&door), bus.clone(), records));
    // an upgrade of this package asks the old program to leave; no call is lost by that either
    let mut signals = Signals::new(&runtime, [Signal::Terminate, Signal::Interrupt])?;
    while door.idle() < idle && !bus.is_closed() {
        let left = idle
            .saturating_sub(door.idle())
            .max(Duration::from_millis(10));
        if runtime.timeout(left, signals.recv()).await.is_ok() {
            break;
        }
    }
    leave(&runtime, &door, &bus).await?;
    drop(teller);
    Ok(())
}

/// Owns the name, which nobody can take from us, or fails. The caller that has started us waits for it:
/// zbus asks to be told first when a name comes and goes, two questions more.
async fn own_name(bus: &Connection) -> Result<()> {
    let asked = (BUS_NAME, RequestNameFlags::DO_NOT_QUEUE);
    match BUS.call(bus, "RequestName", &asked).await? {
        RequestNameReply::PrimaryOwner => Ok(()),
        other => bail!("{other}"),
    }
}

/// Gives the name up without losing a call: from `STOPPING=1` on, the service manager starts a new
/// instance for new calls, and those that are in our queue already are still served.
async fn leave(runtime: &SharedRuntime, door: &Door, bus: &Connection) -> Result<()> {
    sd_notify::notify(&[NotifyState::Stopping])?;
    let _: ReleaseNameReply = BUS.call(bus, "ReleaseName", &(BUS_NAME,)).await?;
    runtime.sleep(AFTER_RELEASE).await;
    while door.activity.idle().is_zero() {
        runtime.sleep(AFTER_RELEASE).await;
    }
    Ok(())
}
