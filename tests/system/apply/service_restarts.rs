//! Services that still run what an update has replaced are named, and restarted where that is wanted.

use lab::{Deb, Host, Release, Repo, fixtures};
use serde_json::Value;

use crate::backends::Backend;
use crate::job::{applied, host_with, list, put_on, text};
use crate::story::{events, last_job, unit};

/// The file that is replaced: code that services run.
const LIBRARY: &str = "/usr/lib/libdemo/run";

/// The package it comes from: every version is another file of the same use.
fn library(host: &Host, version: &str) -> Deb {
    let mut code = std::fs::read(host.root().join("usr/bin/sleep")).expect("no program");
    code.extend(version.as_bytes());
    let library = fixtures::plain("libdemo", version).arch("native");
    library.program(LIBRARY, code)
}

/// A service that runs it; one that is picky does not start with version 1.2.
fn keep(host: &Host, name: &str, picky: bool) {
    let check = if picky {
        "ExecStartPre=/bin/sh -c '! grep -q 1.2 /usr/share/libdemo/version'\n"
    } else {
        ""
    };
    write_service(host, name, &format!("Type=exec\n{check}"));
    host.sh(&format!(
        "systemctl daemon-reload; systemctl start {name}.service"
    ));
}

/// A service that runs it, with these lines.
fn write_service(host: &Host, name: &str, lines: &str) {
    host.write(
        &format!("/etc/systemd/system/{name}.service"),
        format!("[Service]\n{lines}ExecStart={LIBRARY} infinity\n"),
    );
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

releases!(services_with_an_old_library_are_listed_until_they_are_restarted [bookworm trixie]);
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

releases!(services_are_restarted_where_that_is_safe [bookworm trixie]);
fn services_are_restarted_where_that_is_safe(release: Release) {
    let (host, repo) = prepared(release);
    // one as any other, one that the administrator names, one that must not be restarted
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

/// Told with every package manager. A oneshot in the middle of its work would be killed, and begin it again.
pub fn a_service_that_is_at_work_is_listed_and_not_restarted(backend: Backend) {
    let (host, repo) = backend.host_with(&[]);
    put_on(&host, &[library(&host, "1.0")]);
    for (name, lines) in [
        ("backup", "Type=oneshot\n"),
        ("keeper", "Type=exec\n"),
        ("nightly", "Type=exec\n"),
        ("patch-extra", "Type=exec\n"),
        ("remains", "Type=exec\nRemainAfterExit=yes\n"),
        ("starts", "Type=notify\nTimeoutStartSec=infinity\n"),
        ("watched", "Type=exec\n"),
    ] {
        write_service(&host, name, lines);
    }
    let trigger = |name: &str, text: &str| host.write(&format!("/etc/systemd/system/{name}"), text);
    trigger("nightly.timer", "[Timer]\nOnActiveSec=0\nAccuracySec=1us\n");
    trigger("watched.path", "[Path]\nPathExists=/run/lab-wanted\n");
    host.sh("systemctl daemon-reload && touch /run/lab-wanted && \
         systemctl start keeper patch-extra remains nightly.timer watched.path && \
         systemctl start --no-block backup starts");
    let names = [
        "backup", "nightly", "remains", "starts", "watched", "keeper",
    ];
    let pid = |name: &str| unit(&host, &format!("{name}.service"), "MainPID");
    let runs = |name: &str| {
        let pid = pid(name);
        pid != "0" && host.sh(&format!("readlink /proc/{pid}/exe || true")).trim() == LIBRARY
    };
    for name in names {
        host.wait_for(name, || runs(name));
    }
    let before = names.map(pid);
    host.write(
        "/etc/linux_patch_api/config.d/services.toml",
        "[services]\nrestart = \"safe\"\n",
    );
    repo.add(&library(&host, "1.1"));

    let job = applied(&host, backend.target("libdemo"));

    assert_eq!(
        outdated(&job["outdated_services"]),
        [
            "backup.service outdated",
            "keeper.service restarted",
            "nightly.service outdated",
            "remains.service outdated",
            "starts.service outdated",
            "watched.service outdated",
        ],
        "all but those of our own"
    );
    let after = names.map(pid);
    assert_eq!(after[..5], before[..5], "{names:?}");
    assert_ne!(after[5], before[5]);
    assert_eq!(unit(&host, "backup.service", "ActiveState"), "activating");
}

#[test]
fn a_service_that_does_not_come_back_at_once_is_restarted_once_more() {
    let (host, repo) = prepared(Release::Trixie);
    let fails_once = "grep -q 1.0 /usr/share/libdemo/version || [ -e /run/lab-failed ] || \
                      { touch /run/lab-failed; exit 1; }";
    // the second try is the third start, and one too many unless the failure is forgotten
    let limit = "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=2\n[Service]\n";
    let start = format!("Type=exec\n{limit}ExecStartPre=/bin/sh -c '{fails_once}'\n");
    write_service(&host, "moody", &start);
    host.sh("systemctl daemon-reload; systemctl start moody.service");
    repo.add(&library(&host, "1.1"));

    let output = host.try_sh("patchctl apply libdemo --restart=safe 2>&1");

    let job = last_job(&host);
    assert!(output.success(), "{output}\n{job:#}");
    assert!(host.exists("/run/lab-failed"), "it came back at once");
    let list = &job["outdated_services"];
    assert_eq!(outdated(list), ["moody.service restarted"], "{job:#}");
    assert_eq!(unit(&host, "moody.service", "ActiveState"), "active");
}

#[test]
fn a_restart_that_is_only_late_is_no_failure_of_the_update() {
    let (host, repo) = prepared(Release::Trixie);
    let waits = "grep -q 1.0 /usr/share/libdemo/version || exec sleep infinity";
    let start = format!("Type=exec\nTimeoutStartSec=infinity\nExecStartPre=/bin/sh -c '{waits}'\n");
    write_service(&host, "slow", &start);
    host.sh("systemctl daemon-reload; systemctl start slow.service");
    repo.add(&library(&host, "1.1"));

    let output = host.try_sh("patchctl apply libdemo --restart=safe 2>&1");

    let job = last_job(&host);
    assert!(output.success(), "{output}\n{job:#}");
    assert!(job["rollback"].is_null(), "{job:#}");
    let notes = list_of_notes(&job);
    assert!(
        notes.contains("slow.service was restarted, and is not up after 120 s"),
        "{notes}"
    );
    assert_eq!(unit(&host, "slow.service", "ActiveState"), "activating");
}

fn list_of_notes(job: &Value) -> String {
    let notes = list(job, "notes").iter().filter_map(Value::as_str);
    notes.collect::<Vec<_>>().join("\n")
}
