//! Which updates of apt are pending: security among several versions, pins, what root alone can read; and who answers.

use lab::fixtures::{plain, slow};
use lab::{Host, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, causes, changes, events_of_kind, host_with, list, text};
use crate::story::{STATE, property, refresh_succeeds, unit};

const ALICE: &str = "alice";

fn security_source(host: &Host) -> Repo {
    let security = Repo::builder("security").security().build(host);
    security.enable(host);
    security
}

fn json(host: &Host, command: &str) -> Value {
    let output = host.as_user(ALICE, &format!("patchctl {command} --json"));
    assert!(output.success(), "{output}");
    serde_json::from_str(&output.stdout).expect("no JSON")
}

/// The names of the pending updates, as every user sees them.
fn due(host: &Host) -> Vec<String> {
    let updates = json(host, "updates");
    let updates = updates.as_array().expect("no list").iter();
    updates
        .map(|update| format!("{} {}", text(update, "package"), text(update, "candidate")))
        .collect()
}

/// apt takes its cache for current while the second and the size of dpkg's status file are those it was made from
/// (findings/apt-cache-judges-by-whole-seconds.sh).
#[test]
fn what_changed_within_the_second_of_the_last_list_is_seen() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("other", "1.0")],
    );
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(due(&host), ["demo 1.1"]);
    let status = "/var/lib/dpkg/status";
    let former = host.sh(&format!("stat -c '%Y %s' {status}"));
    let (second, size) = former.trim().split_once(' ').expect("no date");

    host.put_on(&[plain("demo", "1.1")]);
    // as if all had been within one second
    let cache = "/var/cache/apt/pkgcache.bin";
    host.sh(&format!(
        "touch -d @{second}.5 {cache} && touch -d @{second}.9 {status}"
    ));

    assert_eq!(host.sh(&format!("stat -c %s {status}")).trim(), size);
    assert_eq!(due(&host), Vec::<String>::new());
    assert_eq!(property(&host, "PendingUpdates"), "0");
}

/// aptly, reprepro and apt-ftparchive write no `Version:` into a Release file.
#[test]
fn a_security_suite_counts_whatever_made_its_release_file() {
    let (host, _repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let site = security_source(&host);
    site.set(|options| {
        options.origin = "Site".to_owned();
        options.label = "Site".to_owned();
    });
    site.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(json(&host, "updates")[0]["origin"], "Site:stable-security");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "1");

    let job = applied(&host, "security");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
}

releases!(a_security_update_is_had_where_the_version_above_it_cannot_be [bookworm trixie forky]);
fn a_security_update_is_had_where_the_version_above_it_cannot_be(release: Release) {
    let names = ["lacks", "removes", "phased", "precious"];
    let (host, repo) = host_with(release, &names.map(|name| plain(name, "1.0")));
    let security = security_source(&host);
    for name in &names[..3] {
        security.add(&plain(name, "1.1"));
    }
    repo.add(&plain("lacks", "1.2").depends("nowhere (>= 3)"));
    repo.add(&plain("removes", "1.2").conflicts("precious"));
    // a rollout that supersedes a security update apt does not wait for
    repo.add(&plain("phased", "1.2"));
    repo.phase("phased", 0);
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingSecurityUpdates"), "3");
    let kept = ["lacks dependency", "removes removal"];
    let plan = json(&host, "plan all");
    assert_eq!(causes(&plan), kept, "{plan:#}");
    for kept in list(&plan, "kept_back") {
        assert_eq!(kept["security"], false, "what is left is not for security");
    }

    let job = applied(&host, "security");
    let done = [
        "lacks 1.0 -> 1.1",
        "phased 1.0 -> 1.2",
        "removes 1.0 -> 1.1",
    ];
    assert_eq!(changes(&job), done, "{job:#}");

    // everything has it as well, also when it hears of it in the same moment
    for name in ["lacks", "removes"] {
        security.add(&plain(name, "1.1+deb1"));
    }
    let job = applied(&host, "all");
    let done = ["lacks", "removes"].map(|name| format!("{name} 1.1 -> 1.1+deb1"));
    assert_eq!(changes(&job), done, "{job:#}");
    assert_eq!(causes(&job), kept, "{job:#}");
    assert_eq!(property(&host, "PendingUpdates"), "0");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(changes(&applied(&host, "all")), [""; 0]);
}

#[test]
fn security_that_a_pin_keeps_away_is_named() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("tool", "1.0")],
    );
    let security = security_source(&host);
    security.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    let pin = "Package: *\nPin: release l=Debian-Security\nPin-Priority: -1\n";
    host.write("/etc/apt/preferences.d/never", pin);

    for target in ["security", "all"] {
        let job = applied(&host, target);
        assert_eq!(causes(&job), ["demo pinned"], "{job:#}");
        let kept = &job["kept_back"][0];
        assert_eq!(kept["security"], true, "{kept}");
        assert!(
            text(kept, "reason").contains("1.1 is for security"),
            "{kept}"
        );
    }
    assert_eq!(due(&host), [""; 0]);
    host.sh("rm /etc/apt/preferences.d/never");
    assert_eq!(changes(&applied(&host, "security")), ["demo 1.0 -> 1.1"]);
}

/// Administrators make sources with passwords unreadable: for other users that must not look like no updates.
#[test]
fn what_root_alone_can_read_is_no_reason_to_say_that_nothing_is_due() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("tool", "1.0")],
    );
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    let pin = "Package: tool\nPin: version 1.0\nPin-Priority: 900\n";
    host.write("/etc/apt/preferences.d/mine", pin);
    host.write(
        "/etc/apt/apt.conf.d/99mine",
        "APT::Get::Show-Versions \"1\";\n",
    );
    host.write(
        "/etc/apt/auth.conf.d/mine.conf",
        "machine 127.0.0.1 login me password x\n",
    );
    host.sh(
        "chmod 0600 /etc/apt/sources.list.d/* /etc/apt/preferences.d/mine /etc/apt/apt.conf.d/99mine \
         /etc/apt/auth.conf.d/mine.conf",
    );
    refresh_succeeds(&host);
    assert_eq!(due(&host), ["demo 1.1"]);

    // edited in place, which leaves the directory as it was
    host.sh(
        "sed -i s/900/100/ /etc/apt/preferences.d/mine; chmod 0600 /etc/apt/preferences.d/mine",
    );
    assert_eq!(due(&host), ["demo 1.1", "tool 1.1"]);
    host.sh("printf 'Package: tool\\nPin: version 1.0\\nPin-Priority: 900\\n' > /etc/apt/preferences.d/mine");
    assert_eq!(due(&host), ["demo 1.1"]);
    let plan = json(&host, "plan demo");
    assert_eq!(list(&plan, "updates").len(), 1, "{plan:#}");

    // a source that even root cannot read is an error, and not an empty list
    host.sh("echo nonsense >> /etc/apt/preferences.d/mine");
    let output = host.as_user(ALICE, "patchctl updates");
    assert!(
        !output.success() && output.stderr.contains("mine"),
        "{output}"
    );
}

#[test]
fn questions_are_answered_while_a_job_runs_and_whatever_lies_among_them() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("tool", "1.0")],
    );
    repo.add(&slow("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    refresh_succeeds(&host);
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    assert_eq!(due(&host), ["tool 1.1"]);
    assert_eq!(list(&json(&host, "plan tool"), "updates").len(), 1);
    host.write("/run/lab-release", "");
    assert!(running.wait().success());
    assert_eq!(property(&host, "PendingUpdates"), "1");

    // what is no question does not stay, and does not start the planner for ever
    let inquiries = format!("{STATE}/inquiries");
    host.sh(&format!(
        "systemctl stop patch-plan.path; cd {inquiries} && rm -f pending && mkdir pending && echo x > plan-x && \
         ln -s /etc/shadow plan-y && systemctl start patch-plan.path"
    ));
    host.wait_for("the directory to be empty", || {
        host.sh(&format!("ls {inquiries}")).is_empty()
    });
    assert_eq!(events_of_kind(&host, message::REQUEST_REFUSED).len(), 3);
    assert_eq!(list(&json(&host, "plan tool"), "updates").len(), 1);
    assert_eq!(unit(&host, "patch-plan.path", "ActiveState"), "active");

    // where nothing starts it, that is said, with the unit to look at
    host.sh("systemctl stop patch-plan.path; touch /etc/apt/sources.list.d/lab.sources");
    let output = host.as_user(ALICE, "patchctl updates");
    assert_eq!(output.status, 1, "{output}");
    assert!(output.stderr.contains("patch-plan.path"), "{output}");
    host.sh("systemctl start patch-plan.path");
    assert_eq!(due(&host), ["tool 1.1"]);
}
