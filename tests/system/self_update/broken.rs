//! A broken version of the self package: the former one is installed again, and answers.

use std::path::PathBuf;

use lab::fixtures::with_version;
use lab::{Host, Release, Repack};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use super::{OWN, answers, host_with_updates, newer, transactions};
use crate::job::{applied, changes, events_of_kind, failed, text};
use crate::story::{installed, property};

/// The newer version, whose D-Bus service is kept from working.
fn with_broken_service(unit: &str) -> PathBuf {
    let drop_in = "/usr/lib/systemd/system/patch-agent.service.d/broken.conf";
    Repack::of(&newer())
        .version("2.0.2")
        .file(drop_in, &format!("[Service]\n{unit}\n"))
        .build()
}

/// Our own package is as before the update, and the job says why.
pub fn is_back(host: &Host, job: &Value, why: &str) {
    assert_eq!(job["error"], why, "{job:#}");
    assert_eq!(job["update"]["phase"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(installed(host, OWN), "2.0.0 installed");
    answers(host, "2.0.0");
    assert_eq!(property(host, "Phase"), "rolled_back");
    assert_eq!(property(host, "Health"), "degraded");
    assert_eq!(host.sh("dpkg --audit"), "");
    let raised: Vec<Value> = events_of_kind(host, message::ALERT_RAISED);
    let [raised] = &raised[..] else {
        panic!("one alert is enough: {raised:#?}");
    };
    assert_eq!(raised["PATCH_ALERT"], "self-update-failed");
    assert!(text(raised, "MESSAGE").contains(why), "{raised:#}");
    assert!(property(host, "HealthReasons").contains(why));
    // whatever is asked for next is served
    applied(host, "demo");
    assert_eq!(installed(host, "demo"), "1.1 installed");
}

releases!(one_that_says_another_version_goes_back [bookworm trixie]);
fn one_that_says_another_version_goes_back(release: Release) {
    let (host, _repo) = host_with_updates(release, &with_version(&newer(), "2.0.2"));

    let job = failed(&host, "all");

    assert_eq!(job["earlier"][0]["phase"], "success", "{job:#}");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(transactions(&host), ["1", "1"]);
    is_back(&host, &job, "agent reports 2.0.1, expected 2.0.2");
}

#[test]
fn one_whose_service_fails_is_rolled_back() {
    is_rolled_back_for_its_silent_service(Release::Trixie, "ExecStartPre=/bin/false");
}

#[test]
fn one_whose_service_hangs_is_rolled_back() {
    is_rolled_back_for_its_silent_service(
        Release::Bookworm,
        "ExecStart=\nExecStart=/bin/sleep infinity",
    );
}

fn is_rolled_back_for_its_silent_service(release: Release, unit: &str) {
    let (host, _repo) = host_with_updates(release, &with_broken_service(unit));

    let job = failed(&host, OWN);

    assert_eq!(job["request"]["kind"], "update");
    is_back(&host, &job, "agent did not answer within 90 s");
}

releases!(one_whose_script_fails_goes_back [bookworm trixie]);
fn one_whose_script_fails_goes_back(release: Release) {
    let broken = Repack::of(&newer()).postinst("exit 7").build();
    let (host, _repo) = host_with_updates(release, &broken);

    let job = failed(&host, "all");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    let why = job["error"].as_str().unwrap_or_default().to_owned();
    assert!(
        why.contains("linux-patch-api:amd64 is half-configured in 2.0.1"),
        "{why}"
    );
    is_back(&host, &job, &why);
}

#[test]
fn where_there_is_no_service_the_program_is_asked_by_itself() {
    let (host, repo) = host_with_updates(Release::Trixie, &newer());
    host.sh("systemctl mask --now patch-agent.service");

    let job = applied(&host, OWN);
    assert_eq!(changes(&job), ["linux-patch-api 2.0.0 -> 2.0.1"]);

    // a worker for which there is no bus
    repo.add_file(&with_version(&newer(), "2.0.2"));
    host.sh("systemctl unmask patch-agent.service");
    let no_bus =
        "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere patchctl apply --direct linux-patch-api 2>&1";
    let output = host.try_sh(no_bus);
    assert!(
        output
            .stdout
            .contains("agent reports 2.0.1, expected 2.0.2"),
        "{output}"
    );
    assert_eq!(installed(&host, OWN), "2.0.1 installed");
    let version = host.sh("patchctl --version");
    assert!(version.starts_with("patchctl 2.0.1 "), "{version}");
}
