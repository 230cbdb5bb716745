//! The service manager's own calls: units as it lists them, jobs that it is given.

use zbus::{Connection, OwnedObjectPath};

use super::bus::Object;

/// The service manager.
pub(super) const MANAGER: Object = Object {
    service: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// Name, description, load state, active state, sub state, following, path, job id, type and path.
pub(super) type UnitTuple = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// The units in one of these states, of all names or of those that match one of the patterns.
pub(super) async fn units(
    bus: &Connection,
    states: &[&str],
    patterns: &[&str],
) -> zbus::Result<Vec<UnitTuple>> {
    let which = (states, patterns);
    MANAGER.call(bus, "ListUnitsByPatterns", &which).await
}

/// Units by their names, as they are or would be if they were loaded.
pub(super) async fn by_names(bus: &Connection, names: &[&str]) -> zbus::Result<Vec<UnitTuple>> {
    MANAGER.call(bus, "ListUnitsByNames", &(names,)).await
}

/// Has the service manager do something with a unit; what becomes of it is not waited for.
pub(super) async fn queue_job(bus: &Connection, method: &str, unit: &str) -> zbus::Result<()> {
    let job = MANAGER.call(bus, method, &(unit, "replace")).await;
    job.map(|_: OwnedObjectPath| ())
}

/// Has it forget that a unit has failed.
pub(super) async fn forget_failure(bus: &Connection, unit: &str) -> zbus::Result<()> {
    MANAGER.call(bus, "ResetFailedUnit", &(unit,)).await
}
