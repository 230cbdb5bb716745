//! `PropertiesChanged`: subscribers receive it for every change, also when the service was not running.

use lab::{Release, Spawned};
use serde_json::Value;

use super::{host_with_an_update, leave_after, service, wait_until_gone};

const MONITOR: &str = "exec busctl monitor --json=short \
    --match \"type='signal',interface='org.freedesktop.DBus.Properties',path='/org/linux_patch/Agent1'\"";

releases!(listeners_receive_what_has_changed [bookworm trixie]);
fn listeners_receive_what_has_changed(release: Release) {
    let (host, _repo) = host_with_an_update(release);
    leave_after(&host, "0.2");
    let listener = host.spawn(MONITOR);
    host.wait_for("the listener", || {
        let bus = host.messages(&["-u", "dbus.service"]);
        bus.iter().any(|line| line.contains("became a monitor"))
    });
    assert_eq!(service(&host, "ActiveState"), "inactive");

    host.sh("systemctl start patch-refresh.service");
    host.wait_for("the news of the refresh", || {
        told(&listener, "CacheStatus", "fresh") && told(&listener, "PendingUpdates", 1)
    });
    wait_until_gone(&host);

    host.sh("systemctl start patch-apply@demo.service");
    host.wait_for("the news of the update", || {
        told(&listener, "Phase", "success")
            && told(&listener, "FromVersion", "1.0")
            && told(&listener, "ToVersion", "1.1")
            && told(&listener, "PendingUpdates", 0)
    });
}

/// Whether the listener has heard of this value.
fn told(listener: &Spawned, property: &str, value: impl Into<Value>) -> bool {
    let value = value.into();
    let heard = listener.output_so_far();
    let messages = heard
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|message| message["member"] == "PropertiesChanged")
        .any(|message| message["payload"]["data"][1][property]["data"] == value)
}

#[test]
fn an_ordinary_user_receives_the_signals_too() {
    let (host, _repo) = host_with_an_update(Release::Trixie);
    host.sh("useradd alice");
    let mut listener = host.spawn(
        "exec setpriv --reuid alice --regid alice --clear-groups busctl wait --json=short \
        /org/linux_patch/Agent1 org.freedesktop.DBus.Properties PropertiesChanged",
    );
    // nothing says when the listener has begun to listen
    host.wait_for("alice to be told", || {
        host.sh("systemctl start patch-refresh.service");
        !listener.is_running()
    });
    assert!(
        listener.output_so_far().contains("org.linux_patch.Agent1"),
        "{}",
        listener.output_so_far()
    );
}
