//! The self package among the updates: last, alone, and judged by whether the new program answers.

mod broken;
mod cut;

use std::path::{Path, PathBuf};

use lab::fixtures::plain;
use lab::{Host, Release, Repack, Repo, product};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, changes, events_of_kind, host_with, id_of, text};
use crate::story::{STATE, drop_request, installed, last_cache_update, property, settled, state};

/// Our own package.
const OWN: &str = "linux-patch-api";

/// The version after this one: another build of the same sources.
fn newer() -> PathBuf {
    product::deb_of_version("2.0.1")
}

/// A host with an update of `demo` and one of our own package.
fn host_with_updates(release: Release, own: &Path) -> (Host, Repo) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add_file(&product::deb());
    repo.add_file(own);
    (host, repo)
}

/// What was changed, transaction by transaction, as the audit tells it.
fn transactions(host: &Host) -> Vec<String> {
    let told = events_of_kind(host, message::ACTIVATION);
    told.iter()
        .map(|event| text(event, "PATCH_COUNT").to_owned())
        .collect()
}

/// What dpkg has configured, in order.
fn configured(host: &Host) -> Vec<String> {
    let log = host.sh("grep ' status installed ' /var/log/dpkg.log | cut -d' ' -f5-");
    log.lines()
        .filter(|line| line.starts_with("demo") || line.starts_with(OWN))
        .map(|line| line.replace(":amd64", "").replace(":all", ""))
        .collect()
}

/// The D-Bus service runs the installed program, in this version.
fn answers(host: &Host, version: &str) {
    assert_eq!(property(host, "Version"), version);
    let owner = host.sh("busctl status org.linux_patch.Agent1 | sed -n 's/^PID=//p'");
    let program = host.sh(&format!("readlink /proc/{}/exe", owner.trim()));
    assert_eq!(program.trim(), "/usr/bin/patchctl");
}

releases!(among_everything_it_goes_last_and_alone [bookworm trixie]);
fn among_everything_it_goes_last_and_alone(release: Release) {
    let (host, _repo) = host_with_updates(release, &newer());
    assert_eq!(property(&host, "Version"), "2.0.0");

    let job = applied(&host, "all");

    assert_eq!(
        changes(&job),
        ["demo 1.0 -> 1.1", "linux-patch-api 2.0.0 -> 2.0.1"]
    );
    assert_eq!(job["request"]["kind"], "apply");
    let told =
        |update: &Value| ["phase", "target", "to_version"].map(|key| text(update, key).to_owned());
    assert_eq!(told(&job["earlier"][0]), ["success", "all", "1.1"]);
    assert_eq!(told(&job["update"]), ["success", OWN, "2.0.1"]);
    assert_eq!(
        told(&state(&host, "state/update.json")),
        ["success", OWN, "2.0.1"]
    );
    assert_eq!(transactions(&host), ["1", "1"]);
    let order = configured(&host);
    assert_eq!(
        order[order.len() - 2..],
        ["demo 1.1", "linux-patch-api 2.0.1"]
    );
    answers(&host, "2.0.1");
    assert_eq!(property(&host, "PendingUpdates"), "0");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(host.sh("systemctl --failed --no-legend"), "");
    // the new program reads what the old one wrote
    let shown = host.sh(&format!("patchctl log {}", id_of(&job)));
    assert!(
        shown.contains("linux-patch-api:amd64 2.0.0 -> 2.0.1"),
        "{shown}"
    );
}

releases!(by_its_name_it_is_updated_and_the_new_program_serves_what_waits [bookworm trixie]);
fn by_its_name_it_is_updated_and_the_new_program_serves_what_waits(release: Release) {
    // its script waits for the story, which queues a request meanwhile
    let slow = Repack::of(&newer())
        .postinst("touch /run/replaced\nwhile ! [ -e /run/go-on ]; do sleep 0.05; done")
        .build();
    let (host, _repo) = host_with_updates(release, &slow);
    host.sh("systemctl start --no-block patch-apply@linux-patch-api.service");
    host.wait_for("the new program", || host.exists("/run/replaced"));
    let waiting = drop_request(&host, 1, r#""packages":["demo"]"#);
    host.wait_for("a worker for it", || {
        host.sh("systemctl show -P ActiveState patch-apply.service")
            .trim()
            == "activating"
    });
    host.sh("touch /run/go-on");

    let demo = settled(&host, &waiting);
    assert_eq!(demo["status"], "succeeded", "{demo:#}");
    // who served it: the journal knows the program of each event
    let started = crate::story::events(&host, "PATCH_JOB", &waiting);
    assert_eq!(started[0]["MESSAGE_ID"], message::JOB_STARTED);
    assert_eq!(started[0]["_EXE"], "/usr/bin/patchctl");
    let jobs = crate::story::jobs(&host);
    let own = &jobs[0];
    assert_eq!(own["status"], "succeeded", "{own:#}");
    assert_eq!(own["request"]["kind"], "update");
    assert_eq!(changes(own), ["linux-patch-api 2.0.0 -> 2.0.1"]);
    assert_eq!(own["update"]["phase"], "success");
    answers(&host, "2.0.1");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
}

#[test]
fn what_one_version_has_written_the_other_reads() {
    let (host, repo) = host_with_updates(Release::Trixie, &newer());
    applied(&host, "all");
    let told = |host: &Host| {
        let jobs = host.sh("patchctl jobs --json");
        (jobs, last_cache_update(host), property(host, "Phase"))
    };
    let before = told(&host);

    // what a version after both may have written, read by the one before both
    host.sh(&format!(
        "cd {STATE}; sed -i '1s/^{{/{{\"later\":{{\"a\":[1]}},/' state/*.json jobs/*.json; grep -l later jobs/*"
    ));
    host.copy_in(&product::deb(), "/root/former.deb");
    host.sh("dpkg --install /root/former.deb 2>&1");
    answers(&host, "2.0.0");
    assert_eq!(told(&host), before);
    assert_eq!(property(&host, "Health"), "healthy");
    repo.add(&plain("demo", "1.2"));
    applied(&host, "demo");

    applied(&host, OWN);
    answers(&host, "2.0.1");
    assert!(told(&host).0.contains("2.0.1"));
    assert!(events_of_kind(&host, message::STATE_UNUSABLE).is_empty());
}
