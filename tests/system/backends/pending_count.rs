//! How many updates are pending, where other programs change packages as well.

use lab::fixtures::plain;
use serde_json::Value;

use super::Backend;
use crate::story::{property, refresh_succeeds};

pub fn what_others_have_updated_is_no_longer_counted(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("other", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");

    host.sh(backend.by_hand);

    // the caller that waits is told what is so, and a property says so soon
    let shown = host.as_user("alice", "patchctl status --json");
    let picture: Value = serde_json::from_str(&shown.stdout).expect("no picture");
    assert_eq!(picture["pending_updates"], 1, "{picture:#}");
    assert_eq!(property(&host, "PendingUpdates"), "1");
    assert_eq!(property(&host, "Health"), "healthy");

    host.put_on(&[plain("demo", "1.1")]);
    host.wait_for("the property", || property(&host, "PendingUpdates") == "0");
    let socket = "/run/linux_patch_api/request.sock";
    let call = format!("varlinkctl call -j {socket} org.linux-patch.Agent1.GetHealth '{{}}'");
    let answer: Value = serde_json::from_str(&host.sh(&call)).expect("no answer");
    assert_eq!(answer["health"]["pending_updates"], 0, "{answer:#}");
}
