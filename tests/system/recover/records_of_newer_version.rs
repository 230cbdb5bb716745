//! Files that a newer version of this program has left: what can be read is kept whole, what cannot is
//! named, moved away where it has to be written, and stops no update.

use lab::{Host, Release, Repo, fixtures};
use linux_patch_api::journal::id as message;
use serde_json::{Value, json};

use crate::api::alerts::standing;
use crate::job::{applied, put_on};
use crate::story::{
    STATE, events, installed, job, property, refresh, refresh_succeeds, settled, state,
    stop_service,
};

const ENDED: &str = "17e0000000000000-000001";
const DEFERRED: &str = "17e0000000000000-000002";
const CONFLICT: &str = "17e0000000000000-000003";
const RUNNING: &str = "17e0000000000000-000004";

// fault: state of a newer version
/// Of every file that holds more than what can be found out again, and of those that hold nothing else.
#[test]
fn files_of_a_newer_version_stop_nothing_and_are_not_lost() {
    let host = Host::boot(Release::Trixie);
    put_on(&host, &[fixtures::plain("demo", "1.0")]);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.enable(&host);
    refresh_succeeds(&host);
    what_says_more_is_understood(&host);
    what_says_something_else_is_put_aside(&host, &repo);
}

/// Records with further keys, and with an alert of a kind that is not known yet.
fn what_says_more_is_understood(host: &Host) {
    write_records_that_say_more(host);

    refresh_succeeds(host);
    applied(host, "demo");

    assert_eq!(installed(host, "demo"), "1.1 installed");
    what_was_added_is_still_there(host);
}

/// The package file that a newer version has stored.
const STORED: &str = "/var/lib/linux_patch_api/packages/kept_1_all.deb";

fn write_records_that_say_more(host: &Host) {
    let mut cache = state(host, "state/cache.json");
    cache["later"] = json!({"a": 1});
    write(host, "state/cache.json", &cache);
    let update = json!({"phase": "failed", "from_version": null, "to_version": null, "target": "demo",
        "started_at": null, "updated_at": null, "last_error": "x", "attempt_count": 3, "later": [1]});
    write(host, "state/update.json", &update);
    let alert = json!({"key": "later", "text": "of a newer version", "more": 1,
        "since": "2026-01-02T03:04:05Z"});
    write(
        host,
        "state/alerts.json",
        &json!({"alerts": [alert], "later": 1}),
    );
    let change =
        json!({"package": "other", "architecture": "all", "from": "1", "to": "2", "later": 1});
    let set = json!({"job": ENDED, "at": "2026-01-02T03:04:05Z", "reason": "x", "changes": [change],
        "later": 1});
    write(
        host,
        "state/blocked.json",
        &json!({"sets": [set], "later": 1}),
    );
    host.write(STORED, "kept");
    let kept = json!({"package": "kept", "architecture": "all", "version": "1", "file": STORED,
        "sha256": "x", "size": 4, "kept_at": "2026-01-02T03:04:05Z", "later": 1});
    write(host, "packages/index.json", &json!([kept]));
    write(
        host,
        &format!("jobs/{ENDED}.json"),
        &record(ENDED, "succeeded"),
    );
    write(
        host,
        &format!("jobs/{RUNNING}.json"),
        &record(RUNNING, "running"),
    );
    write(host, "state/running.json", &json!([RUNNING]));
    write(
        host,
        &format!("deferred/{DEFERRED}.json"),
        &record(DEFERRED, "deferred"),
    );
    write(host, &in_conflict(), &record(CONFLICT, "conflict"));
}

fn what_was_added_is_still_there(host: &Host) {
    host.wait_for("the deferred job", || {
        !host.exists(&format!("{STATE}/deferred/{DEFERRED}.json"))
    });
    for id in [DEFERRED, RUNNING] {
        assert_eq!(settled(host, id)["status"], "succeeded", "{id}");
    }
    assert_eq!(job(host, ENDED)["status"], "succeeded");
    let mut alerts = standing(host);
    alerts.sort();
    assert_eq!(alerts, ["conflict-waiting", "later"]);
    assert_eq!(state(host, "state/alerts.json")["later"], 1);
    assert!(property(host, "HealthReasons").contains("of a newer version"));
    let conflicts = host.sh("patchctl conflicts --json");
    assert!(conflicts.contains(CONFLICT), "{conflicts}");
    host.sh(&format!("patchctl forget {ENDED}"));
    host.wait_for("the block to be forgotten", || {
        state(host, "state/blocked.json") == json!({"sets": [], "later": 1})
    });
    let index = state(host, "packages/index.json");
    let is_kept = |entry: &&Value| entry["package"] == "kept" && entry["later"] == 1;
    assert!(
        index
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| is_kept(&entry)),
        "{index}"
    );
    assert!(host.exists(STORED));
    assert!(events(host, "MESSAGE_ID", message::STATE_UNUSABLE).is_empty());
}

/// The same files in a form that this version does not know.
fn what_says_something_else_is_put_aside(host: &Host, repo: &Repo) {
    let newer = json!({"version": 2, "phase": "resting", "alerts": {}, "sets": {},
        "request": {"version": 2}, "status": "paused", "last_cache_update": {}, "reasons": 1});
    let [ended, deferred] = [
        format!("jobs/{ENDED}.json"),
        format!("deferred/{DEFERRED}.json"),
    ];
    let files = [
        "state/cache.json",
        "state/updates.json",
        "state/update.json",
        "state/alerts.json",
        "state/blocked.json",
        "state/reboot.json",
        "state/running.json",
        "packages/index.json",
        &ended,
        &deferred,
        &in_conflict(),
    ];
    stop_service(host);
    for file in files {
        write(host, file, &newer);
    }
    // the list of jobs in a worker's hands says nothing: their records do
    write(
        host,
        &format!("jobs/{RUNNING}.json"),
        &record(RUNNING, "running"),
    );
    repo.add(&fixtures::plain("demo", "1.2"));
    assert_eq!(property(host, "Phase"), "idle");

    refresh_succeeds(host);
    applied(host, "demo");

    assert_eq!(installed(host, "demo"), "1.2 installed");
    assert_eq!(settled(host, RUNNING)["status"], "succeeded");
    host.sh("systemctl start patch-retry.service");
    assert!(!host.exists(&format!("{STATE}/{deferred}")));
    for file in [
        "state/update.json.bad",
        "state/blocked.json.bad",
        "packages/index.json.bad",
        &format!("refused/{DEFERRED}.json"),
        &ended,
        &in_conflict(),
    ] {
        assert_eq!(state(host, file), newer, "{file}");
    }
    for file in [
        "state/alerts.json",
        "state/update.json",
        "packages/index.json",
    ] {
        let told = events(host, "PATCH_FILE", &format!("{STATE}/{file}"));
        assert!(!told.is_empty(), "{file}");
    }
    host.sh("patchctl status && patchctl jobs && patchctl conflicts && patchctl health --json");
    assert!(!host.try_sh(&format!("patchctl log {ENDED}")).success());
    assert_eq!(property(host, "Health"), "healthy");
    assert_eq!(property(host, "Phase"), "success");

    // what has to write it does not write over it
    repo.stop();
    assert!(!refresh(host).success());
    assert_eq!(standing(host), ["refresh-failing"]);
    assert_eq!(state(host, "state/alerts.json.bad"), newer);
}

fn in_conflict() -> String {
    format!("conflicts/{CONFLICT}.conflict-20260102T030405Z.json")
}

/// The record of a job as a newer version might write it.
fn record(id: &str, status: &str) -> Value {
    json!({
        "request": {"version": 1, "id": id, "kind": "apply", "packages": ["demo"],
            "requester": {"door": "file", "later": 1}, "later": 1},
        "status": status,
        "started_at": null,
        "finished_at": null,
        "transaction": id,
        "later": {"a": 1},
    })
}

fn write(host: &Host, file: &str, value: &Value) {
    host.write(&format!("{STATE}/{file}"), value.to_string());
}
