//! An update as an administrator asks for it, and its job as the records tell it.

use lab::{Deb, Host, Output, Release, Repo};
use serde_json::Value;

use crate::story::{events, last_job};

/// A host that has these packages, and a repository, empty yet, among its sources.
pub fn host_with(release: Release, packages: &[Deb]) -> (Host, Repo) {
    let host = Host::boot(release);
    put_on(&host, packages);
    let repo = Repo::new(&host);
    repo.enable(&host);
    (host, repo)
}

/// Installs packages by hand, all at once; whether dpkg or rpm liked them is the story's to say.
pub fn put_on(host: &Host, packages: &[Deb]) {
    host.put_on(packages);
}

/// Asks for an update as an administrator does, and waits for its end.
pub fn start(host: &Host, instance: &str) -> Output {
    host.try_sh(&format!(
        "systemctl start 'patch-apply@{instance}.service' 2>&1"
    ))
}

/// An update that has to succeed; the record of its job.
pub fn applied(host: &Host, instance: &str) -> Value {
    let output = start(host, instance);
    assert!(
        output.success(),
        "patch-apply@{instance}: {output}\n{}",
        host.sh("journalctl --no-pager --lines=40")
    );
    let job = last_job(host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

/// An update that has to fail, with its unit; the record of its job.
pub fn failed(host: &Host, instance: &str) -> Value {
    let output = start(host, instance);
    assert!(
        !output.success(),
        "patch-apply@{instance} did not fail: {:#}",
        last_job(host)
    );
    let unit = host.try_sh(&format!(
        "systemctl is-failed 'patch-apply@{instance}.service'"
    ));
    assert_eq!(unit.stdout.trim(), "failed");
    let job = last_job(host);
    assert_eq!(job["status"], "failed", "{job:#}");
    job
}

/// The id of a job.
pub fn id_of(job: &Value) -> &str {
    job["request"]["id"].as_str().expect("no id")
}

/// What a job changed, as `name from -> to`, sorted.
pub fn changes(job: &Value) -> Vec<String> {
    let mut changes: Vec<String> = list(job, "changes")
        .iter()
        .map(|change| {
            let of = |key: &str| change[key].as_str().unwrap_or("none").to_owned();
            format!("{} {} -> {}", of("package"), of("from"), of("to"))
        })
        .collect();
    changes.sort();
    changes
}

/// What a job kept back, as `name: reason`.
pub fn kept_back(job: &Value) -> Vec<String> {
    let kept = list(job, "kept_back").iter();
    kept.map(|kept| format!("{}: {}", text(kept, "package"), text(kept, "reason")))
        .collect()
}

/// What a job or a plan kept back, as `name cause`, sorted.
pub fn causes(record: &Value) -> Vec<String> {
    let kept = list(record, "kept_back").iter();
    let mut causes: Vec<String> = kept
        .map(|kept| format!("{} {}", text(kept, "package"), text(kept, "cause")))
        .collect();
    causes.sort();
    causes
}

/// A text of a record; empty when it is not there.
pub fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or("")
}

/// A list of a record; empty when it is not there.
pub fn list<'a>(record: &'a Value, key: &str) -> &'a [Value] {
    record[key].as_array().map_or(&[], Vec::as_slice)
}

/// The entries of one kind of event, of all jobs.
pub fn events_of_kind(host: &Host, message_id: &str) -> Vec<Value> {
    events(host, "MESSAGE_ID", message_id)
}
