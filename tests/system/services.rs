//! Services that still run what an update has replaced are named, and restarted where that is wanted.

use lab::{Deb, Host, Release, Repo, fixtures};
use serde_json::Value;

use crate::job::{applied, host_with, put_on, text};
use crate::story::{events, last_job, unit};

/// The file that is replaced: code that services run.
const LIBRARY: &str = "/usr/lib/libdemo/run";

/// The package it comes from: every version is another file of the same use.
fn library(host: &Host, version: &str) -> Deb {
    let mut code = std::fs::read(host.root().join("usr/bin/sleep")).expect("no program");
    code.extend(version.as_bytes());
    fixtures::plain("libdemo", version).program(LIBRARY, code)
}

/// A service that runs it; one that is picky does not start with version 1.2.
fn keep(host: &Host, name: &str, picky: bool) {
    let check = if picky {
        "ExecStartPre=/bin/sh -c '! grep -q 1.2 /usr/share/libdemo/version'\n"
    } else {
        ""
    };
    host.write(
        &format!("/etc/systemd/system/{name}.service"),
        format!("[Service]\nType=exec\n{check}ExecStart={LIBRARY} infinity\n"),
    );
    host.sh(&format!(
        "systemctl daemon-reload; systemctl start {name}.service"
    ));
}

fn prepared(release: Release) -> (Host, Repo) {
    let (host, repo) = host_with(release, &[]);
    put_on(&host, &[library(&host, "1.0")]);
    (host, repo)
}

/// The units of a list of outdated services, with their fates, but for those of the lab's own.
fn outdated(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("no list");
    let of_library = |service: &&Value| service["files"].to_string().contains(LIBRARY);
    let services = list.iter().filter(of_library);
    services
        .map(|s| format!("{} {}", text(s, "unit"), text(s, "state")))
        .collect()
}

fn picture(host: &Host) -> Value {
    serde_json::from_str(&host.sh("patchctl status --json")).unwrap()
}

#[test]
fn services_with_an_old_library_are_listed_until_they_are_restarted_on_trixie() {
    services_with_an_old_library_are_listed_until_they_are_restarted(Release::Trixie);
}

#[test]
fn services_with_an_old_library_are_listed_until_they_are_restarted_on_bookworm() {
    services_with_an_old_library_are_listed_until_they_are_restarted(Release::Bookworm);
}

fn services_with_an_old_library_are_listed_until_they_are_restarted(release: Release) {
    let (host, repo) = prepared(release);
    keep(&host, "keeper", false);
    let before = unit(&host, "keeper.service", "InvocationID");
    repo.add(&library(&host, "1.1"));
    let job = applied(&host, "libdemo");
    assert_eq!(
        outdated(&job["outdated_services"]),
        ["keeper.service outdated"]
    );
    assert_eq!(
        outdated(&picture(&host)["outdated_services"]),
        ["keeper.service outdated"]
    );
    assert!(
        host.sh("patchctl status")
            .contains(&format!("keeper.service runs {LIBRARY}"))
    );
    assert_eq!(
        unit(&host, "keeper.service", "InvocationID"),
        before,
        "only listed"
    );
    let told = events(&host, "PATCH_UNIT", "keeper.service");
    assert_eq!(told.len(), 1, "{told:?}");

    host.sh("systemctl restart keeper.service");
    assert!(outdated(&picture(&host)["outdated_services"]).is_empty());
    repo.add(&library(&host, "1.2"));
    applied(&host, "libdemo");
    assert_eq!(
        outdated(&picture(&host)["outdated_services"]),
        ["keeper.service outdated"]
    );
    host.reboot();
    assert!(outdated(&picture(&host)["outdated_services"]).is_empty());
}

#[test]
fn services_are_restarted_where_that_is_safe_on_trixie() {
    services_are_restarted_where_that_is_safe(Release::Trixie);
}

#[test]
fn services_are_restarted_where_that_is_safe_on_bookworm() {
    services_are_restarted_where_that_is_safe(Release::Bookworm);
}

fn services_are_restarted_where_that_is_safe(release: Release) {
    let (host, repo) = prepared(release);
    // one as any other, one that the administrator names, one that nobody restarts
    for name in ["keeper", "stays-up", "docker"] {
        keep(&host, name, false);
    }
    host.write(
        "/etc/linux_patch_api/config.d/services.toml",
        "[services]\nrestart = \"safe\"\nnever = [\"stays-*.service\"]\n",
    );
    let run = |name: &str| unit(&host, &format!("{name}.service"), "InvocationID");
    let before = ["keeper", "stays-up", "docker"].map(run);
    repo.add(&library(&host, "1.1"));
    let job = applied(&host, "libdemo");
    assert_eq!(
        outdated(&job["outdated_services"]),
        [
            "docker.service outdated",
            "keeper.service restarted",
            "stays-up.service outdated"
        ]
    );
    assert_ne!(run("keeper"), before[0]);
    assert_eq!([run("stays-up"), run("docker")], before[1..]);
    assert_eq!(
        outdated(&picture(&host)["outdated_services"]),
        ["docker.service outdated", "stays-up.service outdated"]
    );
    assert_eq!(unit(&host, "keeper.service", "ActiveState"), "active");
}

#[test]
fn a_service_that_does_not_come_back_fails_the_update() {
    let (host, repo) = prepared(Release::Trixie);
    keep(&host, "picky", true);
    repo.add(&library(&host, "1.2"));
    let output = host.try_sh("patchctl apply libdemo --restart=safe");
    assert!(!output.success(), "{output}");
    let job = last_job(&host);
    assert_eq!(job["status"], "failed", "{job:#}");
    assert!(text(&job, "error").contains("picky.service"), "{job:#}");
}
