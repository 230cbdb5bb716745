//! What every user may read: properties, the status of the host, pending updates, jobs.

use std::fs;
use std::path::Path;

use lab::{Host, Release, fixtures};
use linux_patch_api::journal::id;
use serde_json::Value;

use super::{AGENT, ALICE, answer, call_as_alice, host_with_an_update};
use crate::job::put_on;
use crate::story::{STATE, property, state};

/// Every property, with the type it is documented with.
const PROPERTIES: &[(&str, &str)] = &[
    ("AttemptCount", "u"),
    ("Backend", "s"),
    ("CacheStatus", "s"),
    ("Commit", "s"),
    ("CurrentJob", "s"),
    ("FromVersion", "s"),
    ("Health", "s"),
    ("HealthReasons", "as"),
    ("KeptBackSecurityUpdates", "u"),
    ("LastCacheError", "s"),
    ("LastCacheUpdate", "s"),
    ("LastCacheUpdateUSec", "t"),
    ("LastError", "s"),
    ("PendingNewPackages", "u"),
    ("PendingSecurityUpdates", "u"),
    ("PendingUpdates", "u"),
    ("Phase", "s"),
    ("Progress", "u"),
    ("ProtocolVersion", "u"),
    ("QueueLength", "u"),
    ("RebootReasons", "as"),
    ("RebootRequired", "b"),
    ("RebootWaits", "s"),
    ("ScheduledShutdown", "s"),
    ("ScheduledShutdownUSec", "t"),
    ("ToVersion", "s"),
    ("UptimeSeconds", "t"),
    ("Version", "s"),
];

#[test]
fn every_property_is_readable_by_all_as_the_installed_interface_says() {
    let host = Host::boot(Release::Trixie);
    let names: Vec<&str> = PROPERTIES.iter().map(|(name, _)| *name).collect();
    let values = host.as_user(
        ALICE,
        &format!("busctl get-property {AGENT} {}", names.join(" ")),
    );
    let types: Vec<&str> = values
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let documented: Vec<&str> = PROPERTIES.iter().map(|(_, of)| *of).collect();
    assert_eq!(types, documented, "{values}");

    let introspect =
        "busctl introspect --xml-interface org.linux_patch.Agent1 /org/linux_patch/Agent1";
    let served = host.as_user(ALICE, introspect).stdout;
    let file = "/usr/share/dbus-1/interfaces/org.linux_patch.Agent1.xml";
    let installed = host.read(file);
    assert_eq!(interface(&served), interface(&installed));
    for (name, of) in PROPERTIES {
        let declared = format!("<property name=\"{name}\" type=\"{of}\" access=\"read\"");
        assert!(installed.contains(&declared), "{name}");
    }
    assert_eq!(installed.matches("<property ").count(), PROPERTIES.len());
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("units/dbus-1/interfaces");
    let source = checkout.join("org.linux_patch.Agent1.xml");
    assert_eq!(installed, fs::read_to_string(source).unwrap());
}

/// The lines of our interface, without comments and indentation.
fn interface(xml: &str) -> Vec<String> {
    let uncommented: String = xml
        .split("<!--")
        .map(|part| part.split_once("-->").map_or(part, |(_, rest)| rest))
        .collect();
    let lines = uncommented.lines().map(|line| line.trim().to_owned());
    let mut found: Vec<String> = lines
        .skip_while(|line| line != "<interface name=\"org.linux_patch.Agent1\">")
        .take_while(|line| line != "</interface>")
        .filter(|line| !line.is_empty())
        .collect();
    assert!(found.len() > 20, "{xml}");
    found.retain(|line| line != "</method>");
    found
}

releases!(a_stale_index_is_refreshed_when_it_is_read [bookworm trixie]);
fn a_stale_index_is_refreshed_when_it_is_read(release: Release) {
    let (host, repo) = host_with_an_update(release);

    let picture = answer(&host, "CheckHealth");
    for (key, value) in [
        ("status", Value::from("healthy")),
        ("cache_status", Value::from("fresh")),
        ("backend", Value::from("apt")),
        ("pending_updates", Value::from(1)),
        ("pending_security_updates", Value::from(0)),
        ("phase", Value::from("idle")),
        ("queue_length", Value::from(0)),
        ("reboot_required", Value::from(false)),
    ] {
        assert_eq!(picture[key]["data"], value, "{key} of {picture}");
    }
    let refreshed = picture["last_cache_update"]["data"].clone();
    assert_eq!(
        state(&host, "state/cache.json")["last_cache_update"],
        refreshed
    );
    assert!(!repo.take_requests().is_empty());
    assert_eq!(
        answer(&host, "CheckHealth")["last_cache_update"]["data"],
        refreshed
    );
    assert!(
        repo.take_requests().is_empty(),
        "a fresh index is not fetched again"
    );

    five_hours_pass(&host);
    assert_eq!(
        property(&host, "CacheStatus"),
        "stale",
        "reading answers at once"
    );
    host.wait_for("the refresh that the read has asked for", || {
        property(&host, "CacheStatus") == "fresh" && property(&host, "CurrentJob").is_empty()
    });
    assert!(!repo.take_requests().is_empty());

    five_hours_pass(&host);
    repo.stop();
    let picture = answer(&host, "CheckHealth");
    assert_eq!(picture["status"]["data"], "degraded");
    assert_eq!(picture["cache_status"]["data"], "failed");
    assert_eq!(picture["last_cache_update"]["data"], "2026-01-02T03:04:05Z");
    let reason = picture["reasons"]["data"][0].as_str().unwrap_or_default();
    assert!(
        reason.starts_with("the last refresh failed: http://127.0.0.1:"),
        "{picture}"
    );
    let before = refreshes(&host);
    let again = answer(&host, "CheckHealth");
    assert_eq!(again["cache_status"]["data"], "failed");
    assert_eq!(
        refreshes(&host),
        before,
        "a mirror that has just failed is left alone, and nobody waits: {}",
        host.sh(
            "journalctl --no-pager -o short-precise -n 50; cat /var/lib/linux_patch_api/state/*"
        )
    );
}

/// How many refreshes there have been.
fn refreshes(host: &Host) -> usize {
    let of = |id: &str| host.journal(&[&format!("MESSAGE_ID={id}")]).len();
    of(id::REFRESH_SUCCEEDED) + of(id::REFRESH_FAILED)
}

/// The index was refreshed long ago, in another boot.
fn five_hours_pass(host: &Host) {
    host.sh(&format!(
        r#"echo '{{"last_cache_update": "2026-01-02T03:04:05Z", "last_update_success": true}}' >{STATE}/state/new &&
        mv {STATE}/state/new {STATE}/state/cache.json"#
    ));
}

#[test]
fn the_list_of_updates_holds_until_something_changes() {
    let (host, _repo) = host_with_an_update(Release::Trixie);
    host.sh("systemctl start patch-refresh.service");
    count_runs_of_apt(&host);

    let updates = answer(&host, "ListUpdates");
    assert_eq!(updates.as_array().map(Vec::len), Some(1), "{updates}");
    for (key, value) in [
        ("package", "demo"),
        ("installed", "1.0"),
        ("candidate", "1.1"),
    ] {
        assert_eq!(updates[0][key]["data"], value, "{updates}");
    }
    assert_eq!(updates[0]["security"]["data"], false);
    assert!(updates[0]["size"]["data"].is_u64(), "{updates}");
    assert!(updates[0]["first_seen"]["data"].is_string(), "{updates}");
    assert_eq!(updates[0]["advisories"]["type"], "as", "{updates}");
    assert_eq!(
        runs_of_apt(&host),
        0,
        "the refresh has worked it out already"
    );

    put_on(&host, &[fixtures::plain("other", "1.0")]);
    let ours = runs_of_apt(&host);
    let many = (0..5).map(|_| super::command("ListUpdates") + " & ");
    let many = host.sh(&format!("{} wait", many.collect::<String>()));
    assert_eq!(many.matches("\"candidate\"").count(), 5, "{many}");
    assert_eq!(
        runs_of_apt(&host),
        ours + 1,
        "callers share one computation"
    );
    answer(&host, "ListUpdates");
    assert_eq!(runs_of_apt(&host), ours + 1, "it still holds");

    host.sh("apt-get install -q -y demo=1.1");
    assert_eq!(
        answer(&host, "ListUpdates"),
        Value::from(Vec::<Value>::new())
    );

    host.write("/etc/linux_patch_api/config.toml", "nonsense = 1\n");
    let error = call_as_alice(&host, "ListUpdates");
    assert!(
        error.stderr.contains("config.toml") && error.stderr.contains("nonsense"),
        "{error}"
    );
    host.sh("rm /etc/linux_patch_api/config.toml");
    answer(&host, "ListUpdates");
}

/// From now on every run of apt-get is in the journal.
fn count_runs_of_apt(host: &Host) {
    host.sh(
        "mv /usr/bin/apt-get /usr/bin/apt-get.real
        printf '#!/bin/sh\nlogger -t counted -- \"$*\"\nexec /usr/bin/apt-get.real \"$@\"\n' >/usr/bin/apt-get
        chmod 755 /usr/bin/apt-get",
    );
}

fn runs_of_apt(host: &Host) -> usize {
    let runs = host.messages(&["-t", "counted"]);
    runs.iter().filter(|run| run.contains("upgrade")).count()
}

#[test]
fn jobs_and_their_output_are_readable_by_all() {
    let (host, _repo) = host_with_an_update(Release::Trixie);
    host.sh("systemctl start patch-apply@demo.service");
    host.sh("systemctl start patch-apply@demo.service");

    let jobs = answer(&host, "ListJobs a{sv} 0");
    let statuses: Vec<&Value> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| &job["status"]["data"])
        .collect();
    assert_eq!(statuses, ["succeeded", "succeeded"]);
    let newest = answer(&host, "ListJobs a{sv} 1 limit u 1");
    assert_eq!(newest.as_array().map(Vec::len), Some(1));
    assert_eq!(newest[0], jobs[0]);
    let id = jobs[1]["request"]["data"]["id"]["data"].as_str().unwrap();
    let record = answer(&host, &format!("GetJob s {id}"));
    let change = &record["changes"]["data"][0];
    assert_eq!(change["package"]["data"], "demo", "{record}");
    assert_eq!(
        (&change["from"]["data"], &change["to"]["data"]),
        (&"1.0".into(), &"1.1".into())
    );
    let log = answer(&host, &format!("GetJobLog s {id}"));
    assert!(
        log.as_str().unwrap().contains("Setting up demo (1.1)"),
        "{log}"
    );

    for (call, complaint) in [
        ("ListJobs a{sv} 1 limit s 1", "limit must be of type u"),
        ("ListJobs a{sv} 1 wrong u 1", "'wrong' is not known"),
        ("GetJob s ../../../etc/passwd", "is not a job id"),
        ("GetJobLog s ''", "is not a job id"),
        ("GetJob s 0123456789abcdef-012345", "there is no job"),
        ("GetJobLog s 0123456789abcdef-012345", "there is no job"),
    ] {
        let output = call_as_alice(&host, call);
        assert!(
            !output.success() && output.stderr.contains(complaint),
            "{call}: {output}"
        );
    }
}
