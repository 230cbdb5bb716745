//! Files that an update moves from one package to another, and what becomes of them on the way back.

use lab::fixtures::{broken_service, plain, with_conffile, with_service};
use lab::{Deb, Host, Release};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, changes, events_of_kind, failed, host_with, id_of, list, text};
use crate::story::{installed, jobs, last_job};

/// Where the library is that moves.
const MOVED: &str = "/usr/lib/lib-n/moved";

/// Its package, whole.
fn whole(version: &str) -> Deb {
    Deb::new("lib-n", version)
        .file("/usr/lib/lib-n/core", version)
        .file(MOVED, version)
        .conffile("/etc/lib-n.conf", "setting = default\n")
}

/// Its package once the library lies in another one, which replaces files of it and does not break it, so that
/// apt unpacks the former version while the other one is still there.
fn split(version: &str) -> [Deb; 2] {
    [
        Deb::new("lib-n", version)
            .file("/usr/lib/lib-n/core", version)
            .depends("lib-n-data"),
        Deb::new("lib-n-data", version)
            .file(MOVED, version)
            .conffile("/etc/lib-n.conf", "setting = default\n")
            .field("Replaces", "lib-n"),
    ]
}

/// Others clean up apt's cache as soon as dpkg is done.
fn clean_always(host: &Host) {
    host.write(
        "/etc/apt/apt.conf.d/docker-clean",
        "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb\"; };\n",
    );
}

#[track_caller]
fn is_whole(host: &Host) {
    assert_eq!(installed(host, "lib-n"), "1.0 installed");
    assert_eq!(host.read("/usr/lib/lib-n/core"), "1.0");
    assert_eq!(host.read(MOVED), "1.0");
    let owner = |file: &str| host.sh(&format!("dpkg-query -S {file}"));
    assert_eq!(owner(MOVED).trim(), format!("lib-n: {MOVED}"));
    assert_eq!(host.sh("dpkg --audit"), "");
    assert_eq!(host.sh("dpkg --verify lib-n | grep -v /etc/ || true"), "");
}

/// What the record says of the files of the one package that lacked some.
#[track_caller]
fn lacked(job: &Value) -> &Value {
    let files = list(&job["rollback"], "files");
    assert_eq!(files.len(), 1, "{job:#}");
    &files[0]
}

releases!(a_file_that_moved_to_a_new_package_comes_back [bookworm trixie]);
fn a_file_that_moved_to_a_new_package_comes_back(release: Release) {
    let (host, repo) = host_with(release, &[]);
    repo.add(&whole("1.0"));
    repo.add(&with_service("demo", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install lib-n demo && apt-get clean");
    host.write("/etc/lib-n.conf", "setting = mine\n");
    clean_always(&host);
    split("1.1").iter().for_each(|package| repo.add(package));
    repo.add(&broken_service("demo", "1.1"));

    let job = failed(&host, "all");

    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(job["rollback"]["error"], Value::Null, "{job:#}");
    is_whole(&host);
    let files = lacked(&job);
    assert_eq!(files["package"], "lib-n", "{job:#}");
    assert_eq!(files["reinstalled"], true, "{job:#}");
    assert!(list(files, "still_missing").is_empty(), "{job:#}");
    let missing: Vec<&str> = list(files, "missing")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(missing.contains(&MOVED), "{job:#}");
    let told = events_of_kind(&host, message::FILES_RESTORED);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["PATCH_PACKAGE"], "lib-n");
    let shown = host.sh(&format!("patchctl log {}", id_of(&job)));
    assert!(
        shown.contains("lib-n 1.0: 2 files missing, installed once more"),
        "{shown}"
    );

    // the configuration file is the former package's again, with what the administrator has changed in it
    host.sh("dpkg --purge lib-n-data 2>&1");
    assert_eq!(host.read("/etc/lib-n.conf"), "setting = mine\n");

    // the same for a rollback that the administrator asks for
    repo.add(&with_service("demo", "1.2"));
    let job = applied(&host, "all");
    assert!(changes(&job).contains(&"lib-n-data none -> 1.1".to_owned()));
    assert_eq!(host.read(MOVED), "1.1");
    host.sh(&format!("patchctl rollback {}", id_of(&job)));
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    is_whole(&host);
    assert_eq!(lacked(&job)["reinstalled"], true, "{job:#}");
}

/// As everything that goes: it stays in its script until it is let go, with its files gone already.
fn slow_to_go(package: Deb) -> Deb {
    package.postrm(
        "[ \"$1\" = remove ] || exit 0\ntouch /run/lab-slow-started\n\
         while ! [ -e /run/lab-release ]; do sleep 0.05; done",
    )
}

// fault: power cut
#[test]
fn a_power_cut_before_the_files_are_put_back_is_ended_by_the_next_boot() {
    let (host, repo) = host_with(Release::Trixie, &[whole("1.0"), plain("other", "1.0")]);
    repo.add(&whole("1.0"));
    repo.add(&with_service("demo", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install demo && apt-get clean");
    clean_always(&host);
    let [library, data] = split("1.1");
    repo.add(&library);
    repo.add(&slow_to_go(data));
    repo.add(&broken_service("demo", "1.1"));
    let running = host.spawn("systemctl start patch-apply@all.service");
    host.wait_for("the way back", || host.exists("/run/lab-slow-started"));
    assert!(!host.exists(MOVED), "it has gone with its package");

    host.power_cut();
    drop(running);
    host.write("/usr/lib/tmpfiles.d/lab.conf", "f /run/lab-release\n");
    host.start();

    host.wait_for("the end of the job", || {
        jobs(&host)[0]["status"] == "failed"
    });
    let job = &jobs(&host)[0];
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    is_whole(&host);
    assert_eq!(lacked(job)["reinstalled"], true, "{job:#}");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
}

#[test]
fn a_file_taken_over_from_a_package_outside_of_the_update_comes_back() {
    let (host, repo) = host_with(Release::Trixie, &[whole("1.0")]);
    repo.add(&whole("1.0"));
    repo.add(&with_service("demo", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install demo && apt-get clean");
    repo.add(&broken_service("demo", "1.1").depends("newdep"));
    let newdep = |package: Deb| package.file(MOVED, "taken").field("Replaces", "lib-n");
    repo.add(&newdep(Deb::new("newdep", "1.1")));

    let job = failed(&host, "all");

    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    is_whole(&host);
    assert_eq!(lacked(&job)["package"], "lib-n", "{job:#}");

    // where its package file is nowhere to be had, nothing is claimed
    repo.remove("lib-n", "1.0");
    host.sh("rm -f /var/lib/linux_patch_api/packages/lib-n_* /var/cache/apt/archives/lib-n_*");
    repo.add(&broken_service("demo", "1.2").depends("newdep"));
    let job = failed(&host, "all");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], false, "{job:#}");
    let error = text(&job["rollback"], "error");
    assert!(
        error.contains("the files of lib-n:all 1.0 could not be compared"),
        "{error}"
    );
}

#[test]
fn a_file_that_moves_back_from_its_replacement_is_there_afterwards() {
    // since a split long ago, `new` replaces files of `old`, in every version
    let old = |version: &str| Deb::new("old", version).file("/usr/lib/old/core", version);
    let new = |version: &str| Deb::new("new", version).file("/usr/lib/new/core", version);
    let before = new("1.0").file("/usr/lib/old/moved", "1.0");
    let before = before.field("Replaces", "old");
    let (host, repo) = host_with(Release::Trixie, &[old("1.0"), before]);
    repo.add(&old("1.1").file("/usr/lib/old/moved", "1.1"));
    repo.add(&new("1.1").depends("old (>= 1.1)"));

    let job = applied(&host, "all");

    assert_eq!(host.read("/usr/lib/old/moved"), "1.1");
    let owner = host.sh("dpkg-query -S /usr/lib/old/moved");
    assert_eq!(owner.trim(), "old: /usr/lib/old/moved");
    let notes = list(&job, "notes");
    let told = "old:all 1.1 lacked files, such as /usr/lib/old/moved, and was installed once more";
    assert!(notes.iter().any(|note| note == told), "{job:#}");
    assert_eq!(events_of_kind(&host, message::FILES_RESTORED).len(), 1);
}

#[test]
fn what_this_host_leaves_out_or_its_administrator_took_away_is_not_missed() {
    let manual = "/usr/share/doc/demo/manual";
    let with_manual = |package: Deb| package.file(manual, "read me\n");
    let (host, repo) = host_with(Release::Trixie, &[]);
    let filter = "path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n";
    host.write("/etc/dpkg/dpkg.cfg.d/slim", filter);
    repo.add(&with_manual(with_service("demo", "1.0")).program("/usr/bin/demo", "#!/bin/sh\n"));
    repo.add(&with_conffile("tool", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install demo tool");
    host.sh("rm /etc/tool.conf");
    host.sh("dpkg-divert --local --rename --add /usr/bin/demo");
    repo.add(&with_manual(broken_service("demo", "1.1")).program("/usr/bin/demo", "#!/bin/sh\n"));
    repo.add(&with_conffile("tool", "1.1"));

    let job = failed(&host, "all");

    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(job["rollback"]["files"], serde_json::json!([]), "{job:#}");
    assert!(!host.exists(manual) && !host.exists("/usr/bin/demo"));
    assert!(host.exists("/usr/bin/demo.distrib") && !host.exists("/etc/tool.conf"));
}
