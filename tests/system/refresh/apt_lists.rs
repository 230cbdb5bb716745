//! What decides whether a refresh by apt has succeeded: the package lists, and no other file.

use std::time::{Duration, SystemTime};

use lab::{Fault, Host, Manager, Release, Repo, fixtures};
use linux_patch_api::journal::id;
use serde_json::Value;

use crate::job::{applied, changes};
use crate::story::{
    events, installed, last_job, property, refresh, refresh_fails, refresh_succeeds, state, unit,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Has apt fetch what packages contain, as the package apt-file does.
const CONTENTS: &str = r#"Acquire::IndexTargets::deb::Contents-deb {
    MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)";
    ShortDescription "Contents-$(ARCHITECTURE)";
    Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Contents (deb)";
    PDiffs "true";
    KeepCompressed "true";
};
"#;

/// A host with two sources, of which each has an update: `first` of the one with a list of contents, `second` of
/// the other one.
fn two_sources(release: Release) -> (Host, Repo, Repo) {
    let host = Host::boot(release);
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

fn tolerate(host: &Host) {
    let text = "[refresh]\ntolerate = [\"packages.example.org\"]\n";
    host.write("/etc/linux_patch_api/config.toml", text);
}

fn notes(host: &Host) -> Vec<String> {
    let cache = state(host, "state/cache.json");
    let notes = cache["notes"].as_array().expect("no notes");
    let text = |note: &Value| note.as_str().expect("no text").to_owned();
    notes.iter().map(text).collect()
}

fn lists(host: &Host) -> Vec<String> {
    let names = host.sh("cd /var/lib/apt/lists && find . -type f ! -name lock | sort");
    names.lines().map(str::to_owned).collect()
}

/// What apt has of the contents of the first source.
fn contents(host: &Host) -> String {
    let file = "/var/lib/apt/lists/*8080*Contents*";
    let text = host.sh(&format!("/usr/lib/apt/apt-helper cat-file {file}"));
    text.trim().to_owned()
}

// fault: network cut, reset, drip, 404, 500
releases!(a_list_of_contents_that_does_not_fit_keeps_nothing_back [bookworm trixie]);
fn a_list_of_contents_that_does_not_fit_keeps_nothing_back(release: Release) {
    let (host, first, _second) = two_sources(release);
    host.write("/etc/apt/apt.conf.d/50apt-file.conf", CONTENTS);
    first.set(|options| options.contents = Some("usr/bin/one first\n".to_owned()));
    refresh_succeeds(&host);
    assert_eq!(contents(&host), "usr/bin/one first");
    assert!(notes(&host).is_empty());
    let before = lists(&host);

    first.add(&fixtures::plain("first", "1.2"));
    first.set(|options| options.contents = Some("usr/bin/two first\n".to_owned()));
    for fault in [Fault::FlipBit, Fault::Status(404)] {
        first.fault("Contents", fault);
        refresh_succeeds(&host);
        assert_eq!(property(&host, "Health"), "healthy");
        let notes = notes(&host);
        let [note] = notes.as_slice() else {
            panic!("{notes:?}")
        };
        assert!(
            note.contains(&first.url()) && note.contains("Contents"),
            "{note}"
        );
        let told = events(&host, "MESSAGE_ID", id::REFRESH_NOTE);
        assert_eq!(told.last().expect("no event")["PATCH_NOTE"], note.as_str());
        assert!(host.sh("patchctl status").contains("Note  http://127"));
        let job = host.sh("patchctl refresh && patchctl jobs --json --limit 1");
        assert!(job.contains("Contents"), "{job}");
        // nothing of what apt had is gone, and what it could not fetch again is the former one
        assert_eq!(lists(&host), before);
        assert_eq!(contents(&host), "usr/bin/one first");
    }
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["first 1.0 -> 1.2", "second 1.0 -> 1.1"]);

    // apt would take the former one for what the index names, as long as that does not change
    first.heal();
    host.sh("apt-get update -q");
    assert_eq!(contents(&host), "usr/bin/one first");
    refresh_succeeds(&host);
    assert_eq!(contents(&host), "usr/bin/two first");
    assert!(notes(&host).is_empty());
    assert_eq!(lists(&host), before);

    // a list of packages that does not fit is something else
    first.add(&fixtures::plain("first", "1.3"));
    first.fault("Packages", Fault::FlipBit);
    let why = refresh_fails(&host);
    assert!(why.contains("Packages"), "{why}");
}

releases!(a_warning_of_a_good_source_is_no_error_when_another_one_fails [bookworm trixie]);
fn a_warning_of_a_good_source_is_no_error_when_another_one_fails(release: Release) {
    let (host, first, second) = two_sources(release);
    host.sh("sed -i 's/^Components: .*/& extra/' /etc/apt/sources.list.d/lab.sources");
    // and packages in a directory, without an index
    host.sh("mkdir /srv/packages && touch /srv/packages/Packages");
    host.write(
        "/etc/apt/sources.list.d/local.list",
        "deb [trusted=yes] file:/srv/packages ./\n",
    );
    host.sh("printf 'Package: none\\nVersion: 1\\nArchitecture: all\\nFilename: ./none.deb\\nSize: 1\\nSHA256: 00\\n' >/srv/packages/Packages");
    assert!(
        host.sh("apt-get update -q 2>&1")
            .contains("W: Skipping acquire of configured file 'extra/")
    );
    tolerate(&host);
    second.stop();
    refresh_succeeds(&host);
    let cache = state(&host, "state/cache.json");
    for source in cache["sources"].as_array().expect("no sources") {
        let is_second = source["uri"] == second.url().as_str();
        assert_eq!(source["error"].is_null(), !is_second, "{source}");
    }
    assert_eq!(cache["sources"].as_array().map(Vec::len), Some(3));
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["first 1.0 -> 1.1"]);
    assert_eq!(installed(&host, "second"), "1.0 installed");
    drop(first);
}

releases!(a_hook_that_fails_is_no_failed_refresh [bookworm trixie]);
fn a_hook_that_fails_is_no_failed_refresh(release: Release) {
    let (host, first, _second) = two_sources(release);
    for hook in ["Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"] {
        host.write(
            "/etc/apt/apt.conf.d/99hook",
            format!(
                "APT::Update::{hook} {{ \"echo {} >&2; exit 3\"; }};\n",
                first.url()
            ),
        );
        assert!(!host.try_sh("apt-get update -q").success(), "{hook}");
        refresh_succeeds(&host);
        assert_eq!(property(&host, "Health"), "healthy", "{hook}");
        let notes = notes(&host);
        let [note] = notes.as_slice() else {
            panic!("{notes:?}")
        };
        assert!(note.contains("hook") && note.contains(hook), "{note}");
        assert!(events(&host, "MESSAGE_ID", id::SOURCE_FAILED).is_empty());
    }
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["first 1.0 -> 1.1", "second 1.0 -> 1.1"]);

    // with a source that fails, that is the error
    first.stop();
    let why = refresh_fails(&host);
    assert!(why.contains(&first.url()) && !why.contains("hook"), "{why}");
    first.start();
    host.sh("rm /etc/apt/apt.conf.d/99hook");
    refresh_succeeds(&host);
    assert!(notes(&host).is_empty());
}

releases!(what_the_administrator_says_of_waiting_stands [bookworm trixie]);
/// What apt is told on its command line, which wins over its files, at a refresh and at an apply.
fn what_the_administrator_says_of_waiting_stands(release: Release) {
    let (host, _first, _second) = two_sources(release);
    let look = "xargs -0 echo </proc/$PPID/cmdline >>/run/told";
    host.write(
        "/etc/apt/apt.conf.d/99look",
        format!(
            "APT::Update::Pre-Invoke {{ \"{look}\"; }};\nDPkg::Pre-Invoke {{ \"{look}\"; }};\n"
        ),
    );
    let told = |host: &Host, package: &str| {
        host.sh("rm -f /run/told");
        applied(host, package);
        host.sh("cat /run/told")
    };
    let lines = told(&host, "first");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for line in lines.lines() {
        assert!(line.contains("Acquire::http::Timeout=20"), "{line}");
        assert!(line.contains("Acquire::Retries=2"), "{line}");
    }
    host.write(
        "/etc/apt/apt.conf.d/10slow",
        "Acquire::http::Timeout \"90\";\nBinary::apt-get::Acquire::Retries \"0\";\n",
    );
    let lines = told(&host, "second");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for word in ["Timeout", "Retries"] {
        assert!(!lines.contains(&format!("Acquire::{word}")), "{lines}");
        assert!(!lines.contains(&format!("http::{word}")), "{lines}");
    }
}

#[test]
fn what_the_administrator_says_of_waiting_stands_with_dnf_4() {
    waiting_of_dnf(Manager::Dnf);
}

#[test]
fn what_the_administrator_says_of_waiting_stands_with_dnf_5() {
    waiting_of_dnf(Manager::Dnf5);
}

fn waiting_of_dnf(manager: Manager) {
    let host = Host::patched_by(manager).boot();
    host.write("/etc/linux_patch_api/config.toml", "backend = \"dnf\"\n");
    let repo = Repo::new(&host);
    repo.enable(&host);
    refresh_succeeds(&host);
    repo.fault("repodata", Fault::Hang);
    // what dnf is told while it waits
    let told = |host: &Host| {
        host.sh("systemctl start --no-block patch-refresh.service");
        let look = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -ao 'dnf5\\? check-update.*'";
        let mut line = String::new();
        host.wait_for("dnf", || {
            line = host.try_sh(look).stdout;
            !line.is_empty()
        });
        host.sh("systemctl kill --signal=TERM patch-refresh.service");
        host.wait_for("the end of the refresh", || {
            unit(host, "patch-refresh.service", "ActiveState") != "activating"
        });
        line
    };
    let line = told(&host);
    assert!(
        line.contains("retries=2") && line.contains("timeout=20"),
        "{line}"
    );
    host.sh("grep -q main /etc/dnf/dnf.conf || echo '[main]' >>/etc/dnf/dnf.conf");
    host.sh("sed -i 's/^\\[main\\]/&\\ntimeout=90\\nretries=1/' /etc/dnf/dnf.conf");
    let line = told(&host);
    assert!(
        !line.contains("retries=") && !line.contains("timeout="),
        "{line}"
    );
}

#[test]
fn a_list_that_cannot_be_made_is_a_reason_and_an_alert() {
    let (host, _first, _second) = two_sources(Release::Trixie);
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    let preferences = "/etc/apt/preferences.d/broken";
    host.write(preferences, "nonsense\n");
    for _ in 0..2 {
        let output = refresh(&host);
        assert!(!output.success(), "{output}");
        assert_eq!(unit(&host, "patch-refresh.service", "Result"), "exit-code");
        assert_eq!(property(&host, "Health"), "degraded");
        let reasons = property(&host, "HealthReasons");
        assert!(
            reasons.contains("pending updates cannot be listed"),
            "{reasons}"
        );
        assert!(
            reasons.contains("Unable to parse package file"),
            "{reasons}"
        );
        // the index itself is as it should be
        assert_eq!(property(&host, "CacheStatus"), "fresh");
    }
    let alerts = state(&host, "state/alerts.json").to_string();
    assert!(
        alerts.contains("refresh-failing") && alerts.contains("Unable to parse package file"),
        "{alerts}"
    );
    assert_eq!(events(&host, "MESSAGE_ID", id::ALERT_RAISED).len(), 1);
    assert!(
        !host
            .try_sh("systemctl start patch-apply@all.service")
            .success()
    );
    assert!(property(&host, "HealthReasons").contains("cannot be listed"));
    let alerts = events(&host, "MESSAGE_ID", id::ALERT_RESOLVED);
    assert!(alerts.is_empty(), "{alerts:?}");

    host.sh(&format!("rm {preferences}"));
    host.sh("systemctl start patch-apply@all.service");
    assert_eq!(installed(&host, "first"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

releases!(lists_that_lie_elsewhere_are_refreshed_and_judged [bookworm trixie]);
/// Below a directory that the unit of the timer can read only.
fn lists_that_lie_elsewhere_are_refreshed_and_judged(release: Release) {
    let (host, first, second) = two_sources(release);
    host.sh("mkdir -p /srv/apt/lists/partial");
    host.write(
        "/etc/apt/apt.conf.d/10lists",
        "Dir { State { lists \"/srv/apt/lists/\"; }; };\n",
    );
    first.set(|options| options.date = Some(SystemTime::now() - DAY));
    refresh_succeeds(&host);
    let old = first.snapshot();
    first.set(|options| options.date = None);
    first.add(&fixtures::plain("first", "1.2"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "PendingUpdates"), "2");
    assert!(host.sh("ls /srv/apt/lists").contains("_Packages"));
    assert!(!host.sh("ls /var/lib/apt/lists").contains("_Packages"));
    let cache = state(&host, "state/cache.json");
    for source in cache["sources"].as_array().expect("no sources") {
        assert!(source["index_date"].is_string(), "{source}");
    }
    // by the worker, whose jobs say so
    let job = last_job(&host);
    assert_eq!(job["request"]["kind"], "refresh", "{job}");
    assert_eq!(job["request"]["requester"]["door"], "timer", "{job}");
    let new = first.snapshot();
    first.restore(&old);
    let why = refresh_fails(&host);
    assert!(why.contains("older than"), "{why}");
    first.restore(&new);
    // the packages of a source that failed are not taken from its old list, which is there as well
    tolerate(&host);
    second.stop();
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "1");
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["first 1.0 -> 1.2"]);
    second.start();
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["second 1.0 -> 1.1"]);
    assert_eq!(property(&host, "Health"), "healthy");
}
