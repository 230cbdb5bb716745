//! A power cut while the self package is updated: the version that runs afterwards judges the update.

use std::path::PathBuf;

use lab::fixtures::plain;
use lab::{Host, Release, Repack};
use serde_json::Value;

use super::broken::is_back;
use super::{OWN, answers, host_with_updates, newer};
use crate::job::{changes, host_with, id_of, list, text};
use crate::story::{installed, jobs, settled};

/// A script that stays where it is, once: until the power goes.
const STAYS: &str = "if ! [ -e /var/tmp/stayed ]; then touch /var/tmp/stayed; sleep infinity; fi";

/// The newer version, whose D-Bus service waits until the power goes.
fn waiting_service(version: &str) -> PathBuf {
    let drop_in = "/usr/lib/systemd/system/patch-agent.service.d/waiting.conf";
    let wait = "while [ -e /run/not-yet ]; do touch /run/asked; sleep 0.05; done";
    let unit = format!("[Service]\nExecStartPre=+/bin/sh -c '{wait}'\nTimeoutStartSec=infinity\n");
    Repack::of(&newer())
        .version(version)
        .file(drop_in, &unit)
        .build()
}

/// Begins an update of everything, cuts the power where it stays, and boots the host.
fn cut(host: &Host) {
    host.sh("systemctl start --no-block patch-apply@all.service");
    host.wait_for("the place where it stays", || {
        host.exists("/var/tmp/stayed")
    });
    host.power_cut();
    host.start();
}

/// As [`cut`], once the package manager has ended and the program is asked.
fn cut_before_the_verdict(host: &Host) {
    host.sh("touch /run/not-yet; systemctl start --no-block patch-apply@all.service");
    host.wait_for("the question", || {
        is_asked(host) && host.exists("/run/asked")
    });
    host.power_cut();
    host.start();
}

/// Whether the update of our own package is being judged.
fn is_asked(host: &Host) -> bool {
    let update = host.try_sh("cat /var/lib/linux_patch_api/state/update.json");
    update.stdout.contains(r#""phase":"verifying""#)
        && update.stdout.contains(r#""target":"linux-patch-api""#)
}

/// The one job, once no worker has anything to do for it.
fn the_job(host: &Host) -> Value {
    host.wait_for("the record", || !jobs(host).is_empty());
    let job = settled(host, id_of(&jobs(host)[0]));
    host.wait_for("the worker to have let go of it", || {
        !host.exists("/var/lib/linux_patch_api/state/running.json")
    });
    assert_eq!(jobs(host).len(), 1, "nothing was asked for twice");
    job
}

/// Both parts are done, each once, and the record tells of both.
fn both_are_done(host: &Host, version: &str) {
    let job = the_job(host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let own = format!("{OWN} 2.0.0 -> {version}");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1", &own]);
    assert_eq!(list(&job, "earlier").len(), 1, "{job:#}");
    assert_eq!(text(&job["update"], "phase"), "success");
    assert_eq!(installed(host, "demo"), "1.1 installed");
    assert_eq!(installed(host, OWN), format!("{version} installed"));
    assert_eq!(host.sh("dpkg --audit"), "");
}

#[test]
fn in_the_part_before_it() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1").postinst(STAYS));
    repo.add_file(&newer());
    cut(&host);
    both_are_done(&host, "2.0.1");
    answers(&host, "2.0.1");
}

#[test]
fn before_it_is_unpacked() {
    let own = Repack::of(&newer()).preinst(STAYS).build();
    let (host, _repo) = host_with_updates(Release::Trixie, &own);
    cut(&host);
    both_are_done(&host, "2.0.1");
    answers(&host, "2.0.1");
}

releases!(before_it_is_configured [bookworm trixie]);
fn before_it_is_configured(release: Release) {
    let own = Repack::of(&newer()).postinst(STAYS).build();
    let (host, _repo) = host_with_updates(release, &own);
    cut(&host);
    both_are_done(&host, "2.0.1");
    answers(&host, "2.0.1");
}

#[test]
fn before_a_good_verdict() {
    let (host, _repo) = host_with_updates(Release::Trixie, &waiting_service("2.0.1"));
    cut_before_the_verdict(&host);
    both_are_done(&host, "2.0.1");
    answers(&host, "2.0.1");
}

#[test]
fn before_a_bad_verdict() {
    let (host, _repo) = host_with_updates(Release::Trixie, &waiting_service("2.0.2"));
    cut_before_the_verdict(&host);
    let job = the_job(&host);
    assert_eq!(job["status"], "failed", "{job:#}");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    is_back(&host, &job, "agent reports 2.0.1, expected 2.0.2");
}
