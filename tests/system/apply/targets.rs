//! Applying what is pending: everything, by name, for security; and what is kept back, and why.

use std::collections::BTreeSet;

use lab::fixtures::{plain, with_conffile};
use lab::{Host, Past, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, changes, host_with, id_of, kept_back, list, text};
use crate::story::{drop_request, events, hold_worker, installed, last_job, property, settled};

// fault: libc
#[test]
fn all_real_updates_of_trixie_are_applied_the_c_library_with_them() {
    let past = Past::usual(Release::Trixie, &["libc6", "libc-bin"]);
    // its script re-executes the service manager, and `systemctl start` loses its connection to it
    real_updates_are_applied(&past, |host| {
        let output = host.try_sh("patchctl apply all");
        assert!(output.success(), "{output}");
        last_job(host)
    });
}

#[test]
fn all_real_updates_of_bookworm_are_applied() {
    let past = Past::usual(Release::Bookworm, &[]);
    real_updates_are_applied(&past, |host| applied(host, "all"));
}

fn real_updates_are_applied(past: &Past, apply: impl Fn(&Host) -> Value) {
    // the builder takes the past's own release
    let host = Host::builder(Release::Trixie).past(past);
    let host = host.network_real().boot();
    host.enable_real_archive();
    let due = due_by_apt(&host);
    let log_before = dpkg_log(&host).len();

    for aged in past.packages() {
        let is_due = due.iter().any(|(package, _)| *package == aged.name);
        assert!(is_due, "{} is not due", aged.name);
    }

    let job = apply(&host);

    let versions = host.sh("dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\\n'");
    for (package, candidate) in &due {
        let line = format!("{package} {candidate} installed");
        assert!(versions.lines().any(|l| l == line), "{line}\n{versions}");
    }
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "CacheStatus"), "fresh");
    assert_eq!(property(&host, "PendingUpdates"), "0");
    assert_eq!(due_by_apt(&host), BTreeSet::new());
    assert!(!text(&job, "started_at").is_empty() && !text(&job, "finished_at").is_empty());
    assert_eq!(job["update"]["phase"], "success");

    let of_dpkg: BTreeSet<String> = dpkg_log(&host).split_off(log_before).into_iter().collect();
    let recorded: BTreeSet<String> = changes(&job).into_iter().collect();
    assert_eq!(recorded, of_dpkg);
    let mut told: Vec<String> = events(&host, "PATCH_JOB", id_of(&job))
        .iter()
        .filter(|event| event["MESSAGE_ID"] == message::PACKAGE_CHANGED)
        .map(|event| {
            let of = |key: &str| match text(event, key) {
                "" => "none".to_owned(),
                value => value.to_owned(),
            };
            let (from, to) = (of("PATCH_FROM"), of("PATCH_TO"));
            format!("{} {from} -> {to}", of("PATCH_PACKAGE"))
        })
        .collect();
    told.sort();
    assert_eq!(told, changes(&job), "one event for each package");
}

/// What `apt-get upgrade` would install now: names and candidates.
fn due_by_apt(host: &Host) -> BTreeSet<(String, String)> {
    let shown = host.sh("apt-get -q update >/dev/null && apt-get -s upgrade --with-new-pkgs");
    let words = |line: &str| {
        let rest = line.strip_prefix("Inst ")?;
        let name = rest.split(' ').next()?.split(':').next()?;
        let candidate = rest.split_once('(')?.1.split(' ').next()?;
        Some((name.to_owned(), candidate.to_owned()))
    };
    shown.lines().filter_map(words).collect()
}

/// What dpkg did, as `name from -> to`.
fn dpkg_log(host: &Host) -> Vec<String> {
    let log = host.read("/var/log/dpkg.log");
    let change = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, _, "upgrade" | "install", package, from, to] = words[..] else {
            return None;
        };
        let name = package.split(':').next().unwrap_or(package);
        Some(format!("{name} {} -> {to}", from.trim_matches(['<', '>'])))
    };
    log.lines().filter_map(change).collect()
}

#[test]
fn nothing_to_do_is_a_success() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.0"));
    let before = host.sh("md5sum /var/lib/dpkg/status");

    for target in ["all", "security", "demo"] {
        let job = applied(&host, target);
        assert_eq!(changes(&job), [""; 0], "{target}");
        assert_eq!(job["update"]["phase"], "success");
    }

    assert_eq!(host.sh("md5sum /var/lib/dpkg/status"), before);
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "CacheStatus"), "fresh");
}

#[test]
fn security_updates_what_comes_from_a_security_source_only() {
    let packages = [plain("demo", "1.0"), plain("urgent", "1.0")];
    let (host, repo) = host_with(Release::Trixie, &packages);
    let security = Repo::builder("security").security().build(&host);
    security.enable(&host);
    repo.add(&plain("demo", "1.1"));
    security.add(&plain("urgent", "1.1"));
    host.sh("systemctl start patch-refresh.service");
    assert_eq!(property(&host, "PendingUpdates"), "2");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "1");

    let job = applied(&host, "security");

    assert_eq!(changes(&job), ["urgent 1.0 -> 1.1"]);
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(property(&host, "PendingUpdates"), "1");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "0");
}

#[test]
fn an_update_that_needs_a_new_package_installs_it() {
    let packages = [plain("demo", "1.0"), plain("tool", "1.0")];
    let (host, repo) = host_with(Release::Trixie, &packages);
    repo.add(&plain("libnew", "3"));
    repo.add(&plain("libtool9", "4"));
    repo.add(&plain("demo", "1.1").depends("libnew"));
    repo.add(&plain("tool", "1.1").depends("libtool9"));

    let job = applied(&host, "demo");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1", "libnew none -> 3"]);
    assert_eq!(installed(&host, "libnew"), "3 installed");

    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["libtool9 none -> 4", "tool 1.0 -> 1.1"]);
    // the libraries were installed as dependencies: they may go when nothing needs them any more
    assert_eq!(
        host.sh("apt-mark showauto libnew libtool9"),
        "libnew\nlibtool9\n"
    );
}

#[test]
fn what_is_held_phased_or_removes_something_is_kept_back_with_reason() {
    for release in [Release::Trixie, Release::Bookworm, Release::Forky] {
        what_is_kept_back_says_why(release);
    }
}

fn what_is_kept_back_says_why(release: Release) {
    let names = ["demo", "held", "phased", "big", "precious"];
    let (host, repo) = host_with(release, &names.map(|name| plain(name, "1.0")));
    host.sh("apt-mark hold held");
    // what an administrator may have set, and would change what is read, or removed
    host.sh("apt-mark auto precious");
    host.write(
        "/etc/apt/apt.conf.d/99mine",
        r#"APT::Get { Show-Versions "1"; AutomaticRemove "1"; }; APT::Output-Version "30";"#,
    );
    for name in ["demo", "held", "phased"] {
        repo.add(&plain(name, "1.1"));
    }
    repo.add(&plain("big", "1.1").conflicts("precious"));
    repo.phase("phased", 0);
    let held = "held: held by the administrator (apt-mark hold)";
    let phased = "phased: its rollout is phased and has not reached this host";
    let big = "big: it would need packages to be removed: precious";

    // by name first, when everything is still pending
    for (name, reason) in [("held", held), ("phased", phased), ("big", big)] {
        let job = applied(&host, name);
        assert_eq!(kept_back(&job), [reason]);
        assert_eq!(changes(&job), [""; 0]);
    }
    let job = applied(&host, "all");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    let mut kept = kept_back(&job);
    kept.sort();
    assert_eq!(kept, [big, held, phased]);
    for name in ["held", "phased", "big", "precious"] {
        assert_eq!(installed(&host, name), "1.0 installed");
    }
    // the journal names each when it is news, and not at every job
    let told = || {
        let told = events(&host, "MESSAGE_ID", message::PACKAGE_KEPT_BACK);
        let line = |event: &Value| {
            let [package, reason] = ["PATCH_PACKAGE", "PATCH_REASON"].map(|key| text(event, key));
            format!("{package}: {reason}")
        };
        told.iter().map(line).collect::<Vec<String>>()
    };
    assert_eq!(told(), [held, phased, big]);
    host.sh("apt-mark unhold held && apt-mark hold demo");
    repo.add(&plain("demo", "1.2"));
    applied(&host, "all");
    applied(&host, "all");
    let demo = held.replacen("held", "demo", 1);
    assert_eq!(told(), [held, phased, big, demo.as_str()]);
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn a_changed_configuration_file_is_kept_and_noted() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[with_conffile("demo", "1.0"), with_conffile("tidy", "1.0")],
    );
    host.write("/etc/demo.conf", "mine\n");
    repo.add(&with_conffile("demo", "1.1"));
    repo.add(&with_conffile("tidy", "1.1"));

    let job = applied(&host, "all");

    assert_eq!(host.read("/etc/demo.conf"), "mine\n");
    assert_eq!(host.read("/etc/demo.conf.dpkg-dist"), "default = 1.1\n");
    assert_eq!(
        host.read("/etc/tidy.conf"),
        "default = 1.1\n",
        "nobody had changed it"
    );
    let notes = list(&job, "notes");
    assert_eq!(notes.len(), 1, "{job:#}");
    let note = notes[0].as_str().unwrap_or("");
    assert!(note.contains("/etc/demo.conf.dpkg-dist"), "{note}");
    let told = events(&host, "MESSAGE_ID", message::JOB_NOTE);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["MESSAGE"], note);
}

#[test]
fn a_package_that_went_away_in_the_meantime_is_named() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let workers = hold_worker(&host);
    let id = drop_request(&host, 1, r#""packages":["demo"]"#);
    host.sh("dpkg --remove demo");
    workers.release(&host);

    let job = settled(&host, &id);
    assert_eq!(job["status"], "failed");
    assert!(
        text(&job, "error").contains("demo is not installed"),
        "{job:#}"
    );
    assert!(!host.exists("/usr/share/demo/version"));
}
