//! What decides whether a refresh by dnf, zypper or pacman has succeeded: the package lists, in whichever directory
//! and from whichever mirror.

use crate::job::{applied, causes, changes};
use crate::story::{events, last_job, property, refresh_fails, refresh_succeeds, state};
use lab::{Advisory, Fault, Host, Manager, Repo, fixtures};
use linux_patch_api::journal::id;

/// Where the administrator has the package manager keep what it fetches: the unit of the timer can read it only.
const ELSEWHERE: &str = "/srv/cache";

/// A host with two repositories, of which each has an update: `first` of one, for no security, and `second` of the
/// other, which may fail, for security where that can be said.
fn two_repositories(manager: Manager, name: &str) -> (Host, Repo, Repo) {
    let host = Host::patched_by(manager).boot();
    host.write(
        "/etc/linux_patch_api/config.toml",
        format!("backend = \"{name}\"\n[refresh]\ntolerate = [\"packages.example.org\"]\n"),
    );
    host.put_on(&[
        fixtures::plain("first", "1.0"),
        fixtures::plain("second", "1.0"),
    ]);
    let first = Repo::new(&host);
    let second = Repo::builder("other")
        .hostname("packages.example.org")
        .build(&host);
    for (repo, package) in [(&first, "first"), (&second, "second")] {
        repo.add(&fixtures::plain(package, "1.1"));
        repo.enable(&host);
    }
    (host, first, second)
}

/// What the last refresh says is wrong with the repository.
fn wrong_with(host: &Host, repository: &str) -> Option<String> {
    let cache = state(host, "state/cache.json");
    let sources = cache["sources"].as_array().expect("no sources").iter();
    let source = sources.clone().find(|source| source["suite"] == repository);
    let error = &source.unwrap_or_else(|| panic!("{cache:#}"))["error"];
    error.as_str().map(str::to_owned)
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn the_package_lists_decide_with_dnf_4() {
    let conf = "grep -q main /etc/dnf/dnf.conf || echo '[main]' >>/etc/dnf/dnf.conf; \
        sed -i 's|^.main.|&\\ncachedir=/srv/cache/$basearch|' /etc/dnf/dnf.conf";
    package_lists(Manager::Dnf, "dnf", conf, "/var/cache/dnf");
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn the_package_lists_decide_with_dnf_5() {
    let conf = "mkdir -p /etc/dnf/libdnf5.conf.d; \
        printf '[main]\\nsystem_cachedir=/srv/cache\\n' >/etc/dnf/libdnf5.conf.d/10-cache.conf";
    package_lists(Manager::Dnf5, "dnf", conf, "/var/cache/libdnf5");
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn the_package_lists_decide_with_zypper() {
    let conf = "printf '[main]\\ncachedir = /srv/cache\\n' >/etc/zypp/zypp.conf";
    package_lists(Manager::Zypper, "zypper", conf, "/var/cache/zypp");
}

fn package_lists(manager: Manager, name: &str, elsewhere: &str, usual: &str) {
    let (host, first, second) = two_repositories(manager, name);
    first.advise("first", Advisory::Bugfix);
    second.advise("second", Advisory::Security);
    host.sh(&format!("mkdir {ELSEWHERE}; {elsewhere}"));
    lie_elsewhere(&host, &first, usual);

    // a mirror that does not answer is no failure while another one does, whatever else fails
    let dead = "http://127.0.0.1:9999/ \\n  http://127.0.0.1:8080/gone/ \\n  ";
    host.sh(&format!(
        "sed -i 's|^baseurl=|&{dead}|' /etc/zypp/repos.d/lab.repo || \
         sed -i 's|^baseurl=|&{dead}|' /etc/yum.repos.d/lab.repo"
    ));
    first.reindex();
    second.stop();
    refresh_succeeds(&host);
    assert_eq!(wrong_with(&host, "lab"), None);
    assert!(wrong_with(&host, "other").is_some());
    second.start();

    if manager == Manager::Zypper {
        a_service_fails(&host);
    }
    lacks_a_file(&host, &first);

    // a list of packages that cannot be had is something else
    first.heal();
    first.add(&fixtures::plain("first", "1.3"));
    for fault in [Fault::Status(404), Fault::FlipBit] {
        first.fault("primary", fault);
        let why = refresh_fails(&host);
        assert!(why.contains("lab: "), "{why}");
        first.heal();
    }
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["first 1.0-1 -> 1.3-1"]);
    assert_eq!(property(&host, "Health"), "healthy");
    if manager == Manager::Dnf {
        no_worker_comes(&host);
    }
}

/// The caller of a question that is left to the worker hears why no answer comes, and the planner does not fail.
fn no_worker_comes(host: &Host) {
    host.sh("systemctl mask --runtime patch-apply.service");
    let plan = host.as_user("alice", "patchctl plan first");
    assert!(!plan.success(), "{plan}");
    let why = "patch-apply.service has not answered this question within 15 s";
    assert!(plan.stderr.contains(why), "{plan}");
    let planner = || host.sh("systemctl is-active patch-plan.service || true");
    host.wait_for("the planner's end", || planner() == "inactive\n");
}

/// The lists that lie elsewhere are refreshed by the worker and judged, and what is due is told.
fn lie_elsewhere(host: &Host, first: &Repo, usual: &str) {
    refresh_succeeds(host);
    let old = first.snapshot();
    first.add(&fixtures::plain("first", "1.2"));
    refresh_succeeds(host);
    assert_eq!(property(host, "Health"), "healthy");
    assert_eq!(property(host, "PendingUpdates"), "2");
    let of_lab = |place: &str| {
        host.sh(&format!(
            "find {place} -path '*lab*' -name repomd.xml 2>/dev/null || true"
        ))
    };
    assert!(!of_lab(ELSEWHERE).is_empty());
    assert_eq!(of_lab(usual), "");
    let job = last_job(host);
    assert_eq!(job["request"]["requester"]["door"], "timer", "{job}");
    let plan = host.sh("patchctl plan first");
    assert!(plan.contains("1.2-1"), "{plan}");
    let new = first.snapshot();
    first.restore(&old);
    let why = refresh_fails(host);
    assert!(why.contains("its index went back"), "{why}");
    first.restore(&new);
    refresh_succeeds(host);
}

/// A plugin that cannot list the repositories of its service is a note: those that are there are refreshed.
fn a_service_fails(host: &Host) {
    let plugin = "/usr/lib/zypp/plugins/services/broken";
    host.sh(&format!(
        "mkdir -p $(dirname {plugin}); printf '#!/bin/sh\\necho no list >&2\\nexit 3\\n' >{plugin}; chmod +x {plugin}"
    ));
    refresh_succeeds(host);
    let notes = &state(host, "state/cache.json")["notes"];
    let note = notes[0].as_str().expect("no note");
    assert!(
        note.contains("'broken'") && note.contains("no list"),
        "{note}"
    );
    host.sh(&format!("rm {plugin}"));
}

/// A file that no update depends on keeps the updates of its own repository back, and those of no other.
fn lacks_a_file(host: &Host, first: &Repo) {
    first.reindex();
    for fault in [Fault::Status(404), Fault::FlipBit] {
        first.fault("updateinfo", fault);
        refresh_succeeds(host);
        let why = wrong_with(host, "lab").expect("nothing is wrong");
        assert!(why.contains("no update depends on that file"), "{why}");
        let reasons = property(host, "HealthReasons");
        assert!(
            reasons.contains("no update depends on that file"),
            "{reasons}"
        );
        assert!(!events(host, "MESSAGE_ID", id::SOURCE_FAILED).is_empty());
    }
    let job = applied(host, "security");
    assert_eq!(changes(&job), ["second 1.0-1 -> 1.1-1"]);
    assert_eq!(causes(&job), ["first source"]);
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn a_dead_mirror_is_no_failed_repository_with_pacman() {
    let (host, first, second) = two_repositories(Manager::Pacman, "pacman");
    let dead = "Server = http://127.0.0.1:9999/dead\\nServer = http://127.0.0.1:8080/gone";
    host.sh(&format!(
        "sed -i 's|^Server|{dead}\\n&|' /etc/pacman.d/repos/lab.conf"
    ));
    refresh_succeeds(&host);
    second.stop();
    refresh_succeeds(&host);
    assert_eq!(wrong_with(&host, "lab"), None);
    assert!(wrong_with(&host, "other").is_some());
    assert_eq!(property(&host, "PendingUpdates"), "1");
    first.fault("lab.db", Fault::Status(404));
    let why = refresh_fails(&host);
    assert!(why.contains("'lab.db'"), "{why}");
}
