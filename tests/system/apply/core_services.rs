//! Updates that restart what the program relies on: the service manager, the bus, polkit, the journal; and a bus
//! that does not answer.

use lab::fixtures::plain;
use lab::{Deb, Host, Release};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{changes, events_of_kind, host_with, id_of, text};
use crate::story::{events, installed, last_job, property, unit};

/// A package by whose update a part of the system is replaced, as its own package would do it.
struct Restart {
    package: &'static str,
    how: &'static str,
    /// Prints something else once that is done.
    which: &'static str,
}

const RESTARTS: [Restart; 4] = [
    Restart {
        package: "restarts-systemd",
        how: "systemctl daemon-reexec",
        which: "tr '\\0' ' ' </proc/1/cmdline",
    },
    Restart {
        package: "restarts-dbus",
        how: "systemctl restart dbus.service",
        which: "systemctl show -P MainPID dbus.service",
    },
    Restart {
        package: "restarts-polkit",
        how: "systemctl restart polkit.service",
        which: "systemctl show -P MainPID polkit.service",
    },
    Restart {
        package: "restarts-journald",
        how: "systemctl restart systemd-journald.service",
        which: "systemctl show -P MainPID systemd-journald.service",
    },
];

// fault: systemd, dbus, polkit, journald restarted
releases!(an_update_that_restarts_core_services_is_followed_to_its_end [bookworm trixie]);
fn an_update_that_restarts_core_services_is_followed_to_its_end(release: Release) {
    let old: Vec<Deb> = RESTARTS.iter().map(|r| plain(r.package, "1.0")).collect();
    let (host, repo) = host_with(release, &[&old[..], &[plain("demo", "1.0")]].concat());
    host.sh("systemctl start polkit.service");
    for Restart {
        package,
        how,
        which,
    } in RESTARTS
    {
        let postinst = format!("echo before {package}\n{how}\necho after {package}");
        repo.add(&plain(package, "1.1").postinst(&postinst));
        let was = host.sh(which);

        // a client that waits for it over the bus loses the bus, and goes on waiting
        let output = host.try_sh(&format!("patchctl apply {package} 2>&1"));

        let told = || host.messages(&["--lines=60"]).join("\n");
        assert!(output.success(), "{package}: {output}\n{}", told());
        assert_ne!(host.sh(which), was, "{package} has restarted nothing");
        let job = last_job(&host);
        followed_to_its_end(&host, package, &job);
        assert_eq!(
            property(&host, "Health"),
            "healthy",
            "{package}: {}",
            told()
        );
        assert_eq!(property(&host, "CurrentJob"), "", "{package}");
        assert_eq!(
            host.sh("systemctl list-units --failed --no-legend 'patch-*'"),
            "",
            "{package}"
        );
    }
    // and so is the next, whichever service was restarted before
    repo.add(&plain("demo", "1.1"));
    let job = crate::job::applied(&host, "demo");
    followed_to_its_end(&host, "demo", &job);
}

/// Record and journal tell of the update from its beginning to its end.
#[track_caller]
fn followed_to_its_end(host: &Host, package: &str, job: &Value) {
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(job["update"]["phase"], "success", "{job:#}");
    assert_eq!(changes(job), [format!("{package} 1.0 -> 1.1")]);
    assert_eq!(installed(host, package), "1.1 installed");
    let log = host.sh(&format!("patchctl log {}", id_of(job)));
    let is_demo = package == "demo";
    assert!(
        is_demo || log.contains(&format!("after {package}")),
        "{log}"
    );
    let checks = job["verification"].as_array().unwrap();
    let units = checks.iter().find(|check| check["name"] == "units");
    let units = units.unwrap_or_else(|| panic!("the units were not compared: {job:#}"));
    assert_eq!(units["passed"], true, "{units:#}");
    // journald reads what was sent while it was away when it is back
    let ids = || -> Vec<String> {
        let events = events(host, "PATCH_JOB", id_of(job));
        events
            .iter()
            .map(|e| text(e, "MESSAGE_ID").to_owned())
            .collect()
    };
    host.wait_for("the end in the journal", || {
        ids().iter().any(|id| id == message::JOB_SUCCEEDED)
    });
    for event in [
        message::JOB_STARTED,
        message::ACTIVATION,
        message::PACKAGE_CHANGED,
    ] {
        assert!(ids().iter().any(|id| id == event), "{package}: {event}");
    }
}

// fault: the bus does not answer
#[test]
fn a_silent_bus_delays_no_update_and_is_reported_to_the_caller() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let bus = host.sh("systemctl show -P MainPID dbus.service");
    host.sh(&format!("kill -STOP {bus}"));
    let asked = host.spawn("patchctl status 2>&1");

    // systemctl has a way of its own to the service manager
    let output = host.try_sh("systemctl start patch-apply@demo.service 2>&1");

    assert!(output.success(), "{output}");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let units = job["verification"].as_array().unwrap().iter();
    let units = units
        .clone()
        .find(|check| check["name"] == "units")
        .unwrap();
    assert_eq!(
        units["required"], false,
        "nothing to compare with: {units:#}"
    );
    let asked = asked.wait();
    assert_eq!(asked.status, 69, "{asked}");
    assert!(
        asked
            .stdout
            .contains("the system bus did not answer within"),
        "{asked}"
    );

    host.sh(&format!("kill -CONT {bus}"));
    host.wait_for("the service", || host.try_sh("patchctl status").success());
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(unit(&host, "patch-apply@demo.service", "Result"), "success");
    assert_eq!(events_of_kind(&host, message::JOB_SUCCEEDED).len(), 1);
}
