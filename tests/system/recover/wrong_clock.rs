//! Clocks that were wrong: the dates they left behind delay no job and delete no record.

use lab::{Host, Release, fixtures};
use serde_json::{Value, json};

use crate::job::{applied, host_with};
use crate::story::{QUEUE, STATE, installed, job, property, refresh_succeeds, state, unit};

/// In the year 2262, the last that an id can tell.
const FUTURE: &str = "7fff000000000000-00000";

// fault: clock set back or forward
#[test]
fn dates_of_a_wrong_clock_delay_nothing_and_delete_nothing() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    refresh_succeeds(&host);
    dates_from_the_future(&host);
    repo.add(&fixtures::plain("demo", "1.1"));
    let long_ago = records_from_the_beginning_of_time(&host);

    applied(&host, "demo");

    assert_eq!(installed(&host, "demo"), "1.1 installed");
    let records = host.sh(&format!("cd {STATE}/jobs && ls -1 *.json"));
    let left = |ids: &[String]| ids.iter().filter(|id| records.contains(&**id)).count();
    let (unfinished, ended) = long_ago.split_first().unwrap();
    assert_eq!(left(std::slice::from_ref(unfinished)), 1, "{records}");
    // no worker has it any more: it has ended just now, with a result that is still to be read
    let lost = job(&host, unfinished);
    assert_eq!(lost["status"], "failed", "{lost:#}");
    assert!(left(ended) < ended.len(), "too old: {records}");
    assert!(left(ended) > 0, "but not all of them: {records}");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// An index, an update, requests and timers that are dated centuries ahead.
fn dates_from_the_future(host: &Host) {
    let never = "2262-01-01T00:00:00Z";
    let elsewhere = json!({"boot_id": "another", "uptime_usec": 1});
    let mut cache = state(host, "state/cache.json");
    for (key, value) in [
        ("last_cache_update", json!(never)),
        ("last_attempt", json!(never)),
        ("refreshed", elsewhere.clone()),
        ("attempted", elsewhere),
    ] {
        cache[key] = value;
    }
    write(host, "state/cache.json", &cache);
    let update = json!({"phase": "failed", "from_version": null, "to_version": null, "target": "demo",
        "started_at": never, "updated_at": never, "last_error": "x", "attempt_count": 3});
    write(host, "state/update.json", &update);
    let [queued, deferred] = [1, 2].map(|number| format!("{FUTURE}{number}"));
    write(
        host,
        &format!("deferred/{deferred}.json"),
        &record(&deferred, "deferred"),
    );
    let stamp = "/var/lib/systemd/timers/stamp-patch-refresh.timer";
    host.sh(&format!(
        "touch -d 2262-01-01 {STATE}/queue {STATE}/deferred {stamp}"
    ));
    host.sh("systemctl restart patch-refresh.timer patch-retry.timer");

    assert_eq!(property(host, "CacheStatus"), "stale");
    host.wait_for("a fresh index", || property(host, "CacheStatus") == "fresh");
    assert!(state(host, "state/cache.json")["last_cache_update"].as_str() < Some(never));
    write(host, &format!("tmp/{queued}.json"), &request(&queued));
    host.sh(&format!("mv {STATE}/tmp/{queued}.json {QUEUE}/"));
    for id in [&queued, &deferred] {
        host.wait_for("the request", || {
            let shown = host.try_sh(&format!("patchctl log --json {id}")).stdout;
            let job: Value = serde_json::from_str(&shown).unwrap_or_default();
            job["status"] == "succeeded"
        });
    }
    let next = unit(host, "patch-refresh.timer", "NextElapseUSecRealtime");
    let wait = host.sh(&format!("echo $(($(date -d '{next}' +%s) - $(date +%s)))"));
    let wait: i64 = wait.trim().parse().unwrap();
    assert!(wait < 24 * 60 * 60, "the next refresh is {wait} s away");
}

/// Records that seem to be of 1971, more than are kept whatever their age; no worker has the
/// first, which has not ended.
fn records_from_the_beginning_of_time(host: &Host) -> Vec<String> {
    let ids: Vec<String> = (0..16)
        .map(|n| format!("0070000000000000-0000{n:02x}"))
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let status = if number == 0 { "queued" } else { "succeeded" };
        write(host, &format!("jobs/{id}.json"), &record(id, status));
    }
    // one that was written just now is kept for the client that waits for it
    host.sh(&format!("touch -d '1 hour ago' {STATE}/jobs/0070*.json"));
    ids
}

fn request(id: &str) -> Value {
    json!({"version": 1, "id": id, "kind": "apply", "packages": ["demo"]})
}

fn record(id: &str, status: &str) -> Value {
    json!({"request": request(id), "status": status, "started_at": null, "finished_at": null,
        "transaction": id})
}

fn write(host: &Host, file: &str, value: &Value) {
    host.write(&format!("{STATE}/{file}"), value.to_string());
}
