//! The journal: every event is found by its job, has a catalog entry, and the output of every program is kept.

use std::collections::BTreeSet;

use lab::fixtures::{failing_postinst, plain, with_conffile};
use lab::{Host, Release, Repo};
use linux_patch_api::journal::id as message;

use crate::job::{applied, failed, host_with, id_of, put_on, start, text};
use crate::story::{events, installed};

/// A host with one job that tells of everything a good job can tell of, and one that failed.
fn eventful_host(release: Release) -> (Host, Repo) {
    let packages = ["demo", "held", "other"].map(|name| plain(name, "1.0"));
    let (host, repo) = host_with(release, &packages);
    put_on(
        &host,
        &[
            with_conffile("conf", "1.0"),
            failing_postinst("stranger", "1.0"),
        ],
    );
    host.write("/etc/conf.conf", "mine\n");
    host.sh("apt-mark hold held");
    for name in ["demo", "held", "other"] {
        repo.add(&plain(name, "1.1"));
    }
    repo.add(&with_conffile("conf", "1.1"));
    (host, repo)
}

releases!(every_event_of_a_job_is_found_by_its_id [bookworm trixie]);
fn every_event_of_a_job_is_found_by_its_id(release: Release) {
    let (host, repo) = eventful_host(release);

    let good = applied(&host, "all");
    let kinds: Vec<String> = of_job(&host, id_of(&good));
    let expected = [
        message::JOB_STARTED,
        // nothing of what was installed by hand is kept
        message::CANNOT_GO_BACK,
        message::ACTIVATION,
        // the versions, the package that was half-configured before, the units
        message::CHECKED,
        message::CHECKED,
        message::CHECKED,
        message::PACKAGE_CHANGED,
        message::PACKAGE_CHANGED,
        message::PACKAGE_CHANGED,
        message::DATABASE_PROBLEM,
        message::PACKAGE_KEPT_BACK,
        message::JOB_NOTE,
        message::JOB_NOTE,
        message::JOB_NOTE,
        message::JOB_SUCCEEDED,
    ];
    let notes = kinds
        .iter()
        .filter(|kind| *kind == message::JOB_NOTE)
        .count();
    let without_notes = |kinds: &[String]| -> Vec<String> {
        let others = kinds.iter().filter(|kind| *kind != message::JOB_NOTE);
        others.cloned().collect()
    };
    assert!(
        notes >= 2,
        "the configuration file and the stranger: {kinds:?}"
    );
    assert_eq!(
        without_notes(&kinds),
        without_notes(&expected.map(str::to_owned))
    );

    repo.add(&plain("demo", "1.2"));
    repo.remove_from_pool("demo", "1.2");
    let bad = failed(&host, "demo");
    assert_eq!(
        of_job(&host, id_of(&bad)),
        [
            message::JOB_STARTED,
            message::RETRY,
            message::JOB_FAILED,
            message::ALERT_RAISED
        ]
    );

    let started = &events(&host, "PATCH_JOB", id_of(&good))[0];
    assert_eq!(started["PATCH_KIND"], "apply");
    assert_eq!(started["PATCH_TARGET"], "all");
    assert_eq!(started["PATCH_DOOR"], "systemd");
    assert_eq!(started["_SYSTEMD_UNIT"], "patch-apply@all.service");
    // whatever names a job in its text has it as a field, too
    for event in host.journal(&["SYSLOG_IDENTIFIER=patchctl"]) {
        for job in [&good, &bad] {
            if text(&event, "MESSAGE").contains(id_of(job)) {
                assert_eq!(event["PATCH_JOB"], id_of(job), "{event:#}");
            }
        }
    }
}

/// The kinds of a job's events, in order.
fn of_job(host: &Host, id: &str) -> Vec<String> {
    let events = events(host, "PATCH_JOB", id);
    events
        .iter()
        .map(|event| text(event, "MESSAGE_ID").to_owned())
        .collect()
}

#[test]
fn every_kind_of_event_that_was_sent_is_explained_by_the_journal() {
    let (host, repo) = eventful_host(Release::Trixie);
    applied(&host, "all");
    repo.add(&plain("demo", "1.2"));
    repo.remove_from_pool("demo", "1.2");
    failed(&host, "demo");
    start(&host, "nonsense-");
    repo.stop();
    failed(&host, "all");

    let kinds: BTreeSet<String> = host
        .journal(&["SYSLOG_IDENTIFIER=patchctl", "_TRANSPORT=journal"])
        .iter()
        .map(|event| text(event, "MESSAGE_ID").to_owned())
        .collect();

    assert!(kinds.len() >= 12, "{kinds:?}");
    for kind in kinds {
        assert_ne!(kind, "", "an event of ours without a kind");
        let shown = host.sh(&format!("journalctl --no-pager -x -n 1 MESSAGE_ID={kind}"));
        let subject = shown.lines().find_map(|line| line.split_once("Subject: "));
        let (_, subject) = subject.unwrap_or_else(|| panic!("{kind} is not explained:\n{shown}"));
        assert!(
            !subject.trim().is_empty() && !subject.contains('@'),
            "{kind}: {subject}"
        );
        assert!(shown.lines().count() > 5, "what to do is missing: {shown}");
    }
}

#[test]
fn what_apt_and_dpkg_printed_is_reached_from_the_record_of_the_job() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("other", "1.0")],
    );
    repo.add(&plain("demo", "1.1").postinst("echo 'words of the first script'"));
    let first = applied(&host, "demo");
    repo.add(&plain("other", "1.1").postinst("echo 'words of the second script' >&2"));
    let second = applied(&host, "all");

    let shown = host.sh(&format!("patchctl log {}", id_of(&first)));
    for words in [
        "succeeded",
        "demo:all 1.0 -> 1.1",
        "Unpacking demo (1.1)",
        "words of the first",
    ] {
        assert!(shown.contains(words), "'{words}' is missing: {shown}");
    }
    assert!(!shown.contains("words of the second script"), "{shown}");
    let shown = host.sh(&format!("patchctl log {}", id_of(&second)));
    assert!(shown.contains("words of the second script"), "{shown}");
    assert_eq!(installed(&host, "other"), "1.1 installed");

    let listed = host.sh("patchctl jobs");
    for job in [&first, &second] {
        assert!(listed.contains(id_of(job)), "{listed}");
    }
    let unknown = host.try_sh("patchctl log 0000000000000000-000000 2>&1");
    assert!(
        !unknown.success() && unknown.stdout.contains("0000000000000000-000000"),
        "{unknown}"
    );
}
