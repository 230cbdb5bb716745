//! A maintainer script that hangs: it is named in status, alerts and record, and the worker never ends it.

use lab::fixtures::plain;
use lab::{Host, Release};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::api::alerts::{HOOK, hook, standing, told};
use crate::job::{changes, events_of_kind, host_with, id_of, list, text};
use crate::story::{installed, last_job, property, unit};

const SCRIPT: &str = "/var/lib/dpkg/info/demo.postinst";

/// Speaks for longer than the limit, though never silent for it; then waits until it is let go.
const SLOW_THEN_STUCK: &str = "[ -p /run/hold ] || exit 0
for step in $(seq 14); do echo step $step; sleep 0.4; done
cat /run/hold";

// fault: script hangs
releases!(a_script_that_hangs_is_named_and_left_alone [bookworm trixie]);
fn a_script_that_hangs_is_named_and_left_alone(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0")]);
    hook(&host, "10-write", HOOK);
    host.write(
        "/etc/linux_patch_api/config.d/stuck.toml",
        "[apply]\nstuck_after = \"4s\"\n",
    );
    host.sh("mkfifo /run/hold");
    repo.add(&plain("demo", "1.1").postinst(SLOW_THEN_STUCK));

    let job = host.spawn("systemctl start patch-apply@demo.service");
    let event = stuck(&host, 1);

    assert_eq!(event["PRIORITY"], "4", "a warning: {event}");
    assert_eq!(event["PATCH_PACKAGE"], "demo");
    assert_eq!(event["PATCH_SCRIPT"], SCRIPT);
    // not one of the sleeps while it still spoke
    assert_eq!(event["PATCH_COMMAND"], "cat /run/hold");
    assert!(text(&event, "PATCH_SECONDS").parse::<u64>().unwrap() >= 4);
    let pid = text(&event, "PATCH_PID").to_owned();
    let running = host.sh(&format!("tr '\\0' ' ' </proc/{pid}/cmdline"));
    assert!(running.contains(SCRIPT), "{running}");
    host.wait_for("the status of the unit", || {
        unit(&host, "patch-apply@demo.service", "StatusText").contains(SCRIPT)
    });
    host.wait_for("the alert", || standing(&host) == ["update-stuck"]);
    host.wait_for("the hook", || told(&host) == ["update-stuck raised"]);
    assert_eq!(property(&host, "Health"), "degraded");
    let reasons = property(&host, "HealthReasons");
    let reason = format!("the script {SCRIPT} of demo hangs, process {pid}");
    assert!(reasons.contains(&reason), "{reasons}");
    host.wait_for("the record", || !list(&last_job(&host), "hangs").is_empty());
    let record = last_job(&host);
    assert_eq!(record["status"], "running");
    assert_eq!(text(&event, "PATCH_JOB"), id_of(&record));
    let hang = &list(&record, "hangs")[0];
    assert_eq!(
        (&hang["package"], &hang["script"], &hang["until"]),
        (&"demo".into(), &SCRIPT.into(), &Value::Null)
    );
    assert_eq!(hang["pid"].to_string(), pid);
    let shown = host.sh(&format!("patchctl log {}", id_of(&record)));
    assert!(shown.contains(&format!("{SCRIPT} hangs since")), "{shown}");
    host.sh(&format!("kill -0 {pid}"));

    host.sh("echo go on >/run/hold");
    let output = job.wait();

    assert!(output.success(), "{output}");
    let record = over(&host, 1, 1);
    assert_eq!(record["status"], "succeeded", "{record:#}");
    assert_eq!(changes(&record), ["demo 1.0 -> 1.1"]);
    assert_eq!(property(&host, "Health"), "healthy");
    host.wait_for("the hook", || {
        told(&host) == ["update-stuck raised", "update-stuck resolved"]
    });

    ended_by_hand(&host, &repo);
}

/// The administrator ends it by hand: the update fails and is rolled back.
fn ended_by_hand(host: &Host, repo: &lab::Repo) {
    host.sh("rm /run/hold; mkfifo /run/never");
    // the script of the version that comes back hangs, too
    let waits = "[ -e /run/hold ] || mkfifo /run/hold\ncat /run/never";
    repo.add(&plain("demo", "1.2").postinst(waits));
    let job = host.spawn("systemctl start patch-apply@demo.service");
    let event = stuck(host, 2);

    host.sh(&format!("kill {}", text(&event, "PATCH_PID")));

    let event = stuck(host, 3);
    assert_eq!(event["PATCH_SCRIPT"], SCRIPT);
    assert_eq!(event["PATCH_COMMAND"], "cat /run/hold");
    host.wait_for("the alert", || {
        standing(host).contains(&"update-stuck".to_owned())
    });
    host.wait_for("the status", || {
        unit(host, "patch-apply@demo.service", "StatusText").contains("hangs")
    });
    host.sh("echo go on >/run/hold");
    assert!(!job.wait().success());
    let record = over(host, 3, 2);
    assert_eq!(record["status"], "failed", "{record:#}");
    assert_eq!(record["rollback"]["outcome"], "rolled_back", "{record:#}");
    assert_eq!(installed(host, "demo"), "1.1 installed");
    host.sh("pkill -x -f 'cat /run/never'");
}

/// The event of the silence with this number, once it is there.
pub fn stuck(host: &Host, number: usize) -> Value {
    host.wait_for("the silence to be told", || {
        events_of_kind(host, message::STUCK).len() >= number
    });
    events_of_kind(host, message::STUCK).remove(number - 1)
}

/// The record of the latest job, which hung so often and does no more; all that has hung so far is told.
pub fn over(host: &Host, told: usize, hung: usize) -> Value {
    assert_eq!(
        events_of_kind(host, message::STUCK).len(),
        told,
        "it is said once"
    );
    assert!(!standing(host).contains(&"update-stuck".to_owned()));
    let record = last_job(host);
    let hangs = list(&record, "hangs");
    assert_eq!(hangs.len(), hung, "{record:#}");
    for hang in hangs {
        assert!(hang["until"].is_string(), "{record:#}");
    }
    record
}

// fault: script hangs
#[test]
fn a_script_that_hangs_while_the_database_is_repaired_is_named() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    host.write(
        "/etc/linux_patch_api/config.d/stuck.toml",
        "[apply]\nstuck_after = \"1s\"\n",
    );
    host.sh("mkfifo /run/hold");
    repo.add(&plain("demo", "1.1").postinst("touch /run/started\ncat /run/hold"));
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("the script", || host.exists("/run/started"));
    // all but systemd, which starts another worker
    host.sh(
        "kill -KILL $(systemctl show -P MainPID patch-apply@demo.service) $(pgrep -x apt-get) \
         $(pgrep -x dpkg) $(pgrep -f 'info/[d]emo') $(pgrep -x -f 'cat /run/hold'); true",
    );
    assert!(!running.wait().success());

    host.wait_for("the silence of the repair to be told", || {
        // or one that had been waiting
        let next = "patch-recover.service patch-apply.service";
        unit(&host, next, "StatusText").contains(&format!("the script {SCRIPT} of demo hangs"))
    });

    let events = events_of_kind(&host, message::STUCK);
    let event = events.last().expect("no event");
    assert_eq!(event["PATCH_COMMAND"], "cat /run/hold");
    host.wait_for("the alert", || {
        standing(&host).contains(&"update-stuck".to_owned())
    });
    host.sh("echo go on >/run/hold");
    host.wait_for("the end of the job", || {
        last_job(&host)["status"] == "succeeded"
    });
    assert_eq!(changes(&last_job(&host)), ["demo 1.0 -> 1.1"]);
    host.wait_for("the end of the alert", || standing(&host).is_empty());
    assert!(!list(&last_job(&host), "hangs").is_empty());
}
