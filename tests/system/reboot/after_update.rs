//! A reboot follows an update when that is wanted, and only after a success that changed something.

use lab::{Host, Release, fixtures};
use linux_patch_api::journal::id;
use serde_json::Value;

use crate::job::{applied, failed, host_with, id_of};
use crate::story::{events, installed, last_job, property, settled};

/// Where logind says what is scheduled.
const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";

fn configure(host: &Host, text: &str) {
    host.write("/etc/linux_patch_api/config.d/reboot.toml", text);
}

/// For when `patchctl status` says that a reboot is scheduled; null for not.
fn scheduled(host: &Host) -> Value {
    let picture: Value = serde_json::from_str(&host.sh("patchctl status --json")).unwrap();
    picture["scheduled_reboot"].clone()
}

fn apply(host: &Host, options: &str) -> Value {
    host.sh(&format!("patchctl apply demo {options}"));
    last_job(host)
}

releases!(a_reboot_is_scheduled_when_it_is_wanted_and_can_be_taken_back [bookworm trixie]);
fn a_reboot_is_scheduled_when_it_is_wanted_and_can_be_taken_back(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    configure(
        &host,
        "[reboot]\ndelay = \"1h\"\nmessage = \"to the tune of demo\"\n",
    );

    // never is the default, and what was said is not said for others
    repo.add(&fixtures::plain("demo", "1.1"));
    assert_eq!(apply(&host, "")["reboot"], Value::Null);
    // nothing changed, or nothing needs it
    assert_eq!(apply(&host, "--reboot=always")["reboot"], Value::Null);
    repo.add(&fixtures::plain("demo", "1.2"));
    assert_eq!(apply(&host, "--reboot=when-needed")["reboot"], Value::Null);
    assert!(!host.exists(SCHEDULED));
    assert_eq!(scheduled(&host), Value::Null);

    repo.add(&fixtures::plain("demo", "1.3"));
    let job = apply(&host, "--reboot=always");
    assert_eq!(job["reboot"]["delay_seconds"], 3600, "{job:#}");
    host.wait_for("the schedule", || host.exists(SCHEDULED));
    let kept = host.read(SCHEDULED);
    assert!(kept.contains("MODE=reboot"), "{kept}");
    assert!(
        kept.contains("tune"),
        "what those who are logged in are told: {kept}"
    );
    assert_ne!(scheduled(&host), Value::Null);
    assert!(host.sh("patchctl status").contains("scheduled for"));
    let told = || events(&host, "MESSAGE_ID", id::REBOOT_SCHEDULED);
    host.wait_for("the word", || told().len() == 1);
    assert_eq!(told()[0]["PATCH_JOB"], id_of(&job));
    host.sh("patchctl reboot --cancel");
    assert!(!host.exists(SCHEDULED));
    assert_eq!(scheduled(&host), Value::Null);

    // a package that needs it, by configuration; and systemd's own way of taking it back
    configure(
        &host,
        "[reboot]\npolicy = \"when-needed\"\ndelay = \"1h\"\n",
    );
    let needs = "touch /run/reboot-required; echo demo >> /run/reboot-required.pkgs";
    repo.add(&fixtures::plain("demo", "1.4").postinst(needs));
    let job = applied(&host, "demo");
    assert_eq!(job["reboot"]["reasons"][0], "demo was updated", "{job:#}");
    host.wait_for("the schedule", || host.exists(SCHEDULED));
    host.sh("shutdown -c");
    assert_eq!(scheduled(&host), Value::Null);
    assert_eq!(property(&host, "RebootRequired"), "true");

    // never after a failure
    repo.add(&fixtures::failing_postinst("demo", "1.5"));
    assert_eq!(failed(&host, "demo")["reboot"], Value::Null);
    assert!(!host.exists(SCHEDULED));

    // a user without the right is refused
    let refused = host.as_user("alice", "patchctl reboot");
    assert_eq!(refused.status, 77, "{refused}");
    assert_eq!(host.try_sh("patchctl reboot --delay=99w").status, 2);
    host.sh("patchctl reboot --delay=2h");
    assert!(host.read(SCHEDULED).contains("MODE=reboot"));
    host.sh("patchctl reboot --cancel");
}

releases!(an_update_ends_with_a_real_reboot [bookworm trixie]);
fn an_update_ends_with_a_real_reboot(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    configure(&host, "[reboot]\npolicy = \"always\"\ndelay = \"0\"\n");
    repo.add(&fixtures::slow("demo", "1.1"));
    host.sh("systemctl start --no-block patch-apply@demo.service");
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    // while packages change a shutdown is inhibited; when the reboot is asked for, it is no longer
    let held = host.sh("systemd-inhibit --list");
    assert!(held.contains("linux-patch-api"), "{held}");
    host.sh("touch /run/lab-release");
    host.wait_for_reboot();

    assert_eq!(installed(&host, "demo"), "1.1 installed");
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(events(&host, "MESSAGE_ID", id::REBOOT_SCHEDULED).len(), 1);
    assert!(events(&host, "MESSAGE_ID", id::REBOOT_REFUSED).is_empty());
    assert!(
        !host
            .sh("systemd-inhibit --list")
            .contains("linux-patch-api")
    );
    // and once is enough
    assert!(!host.exists(SCHEDULED));
    assert_eq!(scheduled(&host), Value::Null);
}

releases!(a_host_without_logind_reboots_by_a_timer [bookworm trixie]);
fn a_host_without_logind_reboots_by_a_timer(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    host.sh("systemctl mask --now systemd-logind.service 2>&1");
    configure(&host, "[reboot]\npolicy = \"always\"\ndelay = \"1h\"\n");
    repo.add(&fixtures::plain("demo", "1.1"));
    applied(&host, "demo");
    host.wait_for("the schedule", || scheduled(&host) != Value::Null);
    host.sh("systemctl is-active patch-reboot.timer");
    host.sh("patchctl reboot --cancel");
    assert!(
        !host
            .try_sh("systemctl is-active patch-reboot.timer")
            .success()
    );
    assert_eq!(scheduled(&host), Value::Null);

    configure(&host, "[reboot]\npolicy = \"always\"\ndelay = \"0\"\n");
    repo.add(&fixtures::plain("demo", "1.2"));
    host.sh("systemctl start --no-block patch-apply@demo.service");
    host.wait_for_reboot();
    assert_eq!(installed(&host, "demo"), "1.2 installed");
    assert_eq!(last_job(&host)["status"], "succeeded");
    assert_eq!(events(&host, "MESSAGE_ID", id::REBOOT_SCHEDULED).len(), 2);
}

#[test]
fn a_newer_kernel_than_the_running_one_is_a_reason() {
    let (host, _repo) = host_with(Release::Trixie, &[]);
    let running = host.sh("uname -r").trim().to_owned();
    let newer = format!("99.{running}");
    host.write(&format!("/boot/vmlinuz-{newer}"), "");
    assert_eq!(
        property(&host, "RebootRequired"),
        "false",
        "another's kernel runs"
    );
    host.write(&format!("/boot/vmlinuz-{running}"), "");
    let is_reason = || {
        let reasons = property(&host, "RebootReasons");
        let reason = format!("the kernel {newer} is installed, but {running} is running");
        assert!(reasons.contains(&reason), "{reasons}");
        assert_eq!(property(&host, "RebootRequired"), "true");
    };
    is_reason();
    // Fedora and Arch keep them beside their modules, which the service has to see, too
    host.sh("rm /boot/vmlinuz-*");
    assert_eq!(property(&host, "RebootRequired"), "false");
    for release in [&running, &newer] {
        host.write(&format!("/usr/lib/modules/{release}/vmlinuz"), "");
    }
    is_reason();
}

#[test]
fn wishes_for_a_reboot_that_differ_are_served_apart() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    configure(&host, "[reboot]\ndelay = \"1h\"\n");
    repo.add(&fixtures::plain("demo", "1.1"));
    let lock = crate::story::hold_worker(&host);
    let first = host.sh("patchctl apply demo --no-wait --reboot=never");
    let second = host.sh("patchctl apply demo --no-wait --reboot=always");
    lock.release(&host);
    let (first, second) = (settled(&host, first.trim()), settled(&host, second.trim()));
    assert_eq!(first["status"], "succeeded");
    assert_eq!(second["status"], "succeeded");
    assert_ne!(first["transaction"], second["transaction"]);
    assert!(
        !host.exists(SCHEDULED),
        "the one that wanted it changed nothing"
    );
}
