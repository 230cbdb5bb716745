//! Alerts: each is signalled once, to subscribers and hooks, and resolved when its condition ends.

use lab::{Host, Release, Spawned, fixtures};
use linux_patch_api::journal::id;
use serde_json::Value;

use crate::job::{applied, changes, events_of_kind, failed, host_with, id_of, start, text};
use crate::story::{
    drop_request, events, last_job, property, refresh_fails, refresh_succeeds, settled,
    stop_service, unit,
};

/// Where the hooks of the stories write down what they were told.
const TOLD: &str = "/run/told";

/// A hook that writes down its environment as it was given, in one line and at once.
pub const HOOK: &str =
    "#!/bin/sh\nprintf '%s\\n' \"$(tr '\\0' '|' < /proc/$$/environ)\" >> /run/told\n";

/// Puts a hook in place.
pub fn hook(host: &Host, name: &str, script: &str) {
    let path = format!("/etc/linux_patch_api/alert.d/{name}");
    host.write(&path, script);
    host.sh(&format!("chmod 0755 {path}"));
}

/// What the hooks were told so far: key and state, in order.
pub fn told(host: &Host) -> Vec<String> {
    let lines = host.sh(&format!("cat {TOLD} 2>/dev/null || true"));
    let value = |line: &str, key: &str| {
        let mut pairs = line.split('|').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(name, _)| *name == key);
        found.map_or(String::new(), |(_, value)| value.to_owned())
    };
    lines
        .lines()
        .map(|line| {
            format!(
                "{} {}",
                value(line, "PATCH_ALERT"),
                value(line, "PATCH_ALERT_STATE")
            )
        })
        .collect()
}

/// How often an alert was raised, or resolved, as the journal has it.
fn counted(host: &Host, message: &str, key: &str) -> usize {
    let told = events(host, "MESSAGE_ID", message);
    told.iter()
        .filter(|event| {
            assert_eq!(event["PRIORITY"], "4", "a warning: {event}");
            event["PATCH_ALERT"] == key
        })
        .count()
}

/// The keys of the alerts that stand.
pub fn standing(host: &Host) -> Vec<String> {
    let picture: Value = serde_json::from_str(&host.sh("patchctl status --json")).unwrap();
    let alerts = picture["alerts"].as_array().expect("no list of alerts");
    alerts
        .iter()
        .map(|alert| text(alert, "key").to_owned())
        .collect()
}

/// Listens to the alerts, from now on.
fn listen(host: &Host) -> Spawned {
    let listener = host.spawn(
        "exec busctl monitor --json=short --match \
         \"type='signal',interface='org.linux_patch.Agent1'\"",
    );
    host.wait_for("the listener", || {
        let bus = host.messages(&["-u", "dbus.service"]);
        bus.iter().any(|line| line.contains("became a monitor"))
    });
    listener
}

/// The alerts that a listener has heard of, in order: signal and key.
fn heard(listener: &Spawned) -> Vec<String> {
    let heard = listener.output_so_far();
    let messages = heard
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|m| text(m, "member").starts_with("Alert"))
        .map(|m| {
            format!(
                "{} {}",
                text(&m, "member"),
                m["payload"]["data"][0].as_str().unwrap_or("")
            )
        })
        .collect()
}

releases!(a_failed_update_is_signalled_once_and_resolved_by_the_next_success [bookworm trixie]);
fn a_failed_update_is_signalled_once_and_resolved_by_the_next_success(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    hook(&host, "10-write", HOOK);
    repo.add(&fixtures::failing_postinst("demo", "1.1"));
    let listener = listen(&host);

    let first = failed(&host, "demo");
    let raised = ["update-failed", "database-interrupted"];
    host.wait_for("the hook", || told(&host).len() == 2);
    // a second failure is no second alert, and a service that has just been started repeats no signal that
    // the former one has sent
    host.wait_for("the signals", || heard(&listener).len() == 2);
    failed(&host, "demo");
    stop_service(&host);
    assert_eq!(property(&host, "Health"), "degraded");
    assert_eq!(sorted(&host), ["database-interrupted", "update-failed"]);
    for key in raised {
        assert_eq!(counted(&host, id::ALERT_RAISED, key), 1, "{key}");
        assert_eq!(counted(&host, id::ALERT_RESOLVED, key), 0, "{key}");
    }
    let reasons = property(&host, "HealthReasons");
    assert_eq!(
        reasons.matches("the last update (demo) failed").count(),
        1,
        "{reasons}"
    );
    assert_eq!(
        reasons.matches("package demo is half-configured").count(),
        1,
        "{reasons}"
    );
    assert!(host.sh("patchctl status").contains("update-failed since"));
    the_hook_saw_these_variables_alone(&host, id_of(&first));

    repo.add(&fixtures::plain("demo", "1.2"));
    applied(&host, "demo");
    assert_eq!(property(&host, "Health"), "healthy");
    assert!(standing(&host).is_empty());
    host.wait_for("the hook", || told(&host).len() == 4);
    host.wait_for("the signals", || heard(&listener).len() == 4);
    for key in raised {
        assert_eq!(counted(&host, id::ALERT_RAISED, key), 1, "{key}");
        assert_eq!(counted(&host, id::ALERT_RESOLVED, key), 1, "{key}");
        for state in ["raised", "resolved"] {
            let event = format!("{key} {state}");
            assert_eq!(
                told(&host).iter().filter(|e| **e == event).count(),
                1,
                "{event}"
            );
        }
        for member in ["AlertRaised", "AlertResolved"] {
            let signal = format!("{member} {key}");
            assert_eq!(
                heard(&listener).iter().filter(|s| **s == signal).count(),
                1,
                "{signal}"
            );
        }
    }
}

/// The hook of the failed update got the alert and its job, and no other variable.
fn the_hook_saw_these_variables_alone(host: &Host, job: &str) {
    let environment = host.sh(&format!("grep PATCH_ALERT=update-failed {TOLD}"));
    assert!(
        environment.contains(&format!("PATCH_JOB={job}")),
        "{environment}"
    );
    let names: Vec<&str> = environment
        .trim()
        .split('|')
        .filter_map(|pair| Some(pair.split_once('=')?.0))
        .filter(|name| !name.starts_with("MONITOR_"))
        .collect();
    assert_eq!(
        names,
        [
            "PATCH_ALERT",
            "PATCH_ALERT_STATE",
            "PATCH_ALERT_TEXT",
            "PATCH_JOB",
            "PATH"
        ],
        "and nothing else"
    );
}

#[test]
fn a_failed_refresh_and_a_waiting_conflict_are_signalled_once() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    hook(&host, "10-write", HOOK);
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.fault("", lab::Fault::Status(500));
    refresh_fails(&host);
    refresh_fails(&host);
    assert_eq!(standing(&host), ["refresh-failing"]);
    let reasons = property(&host, "HealthReasons");
    assert_eq!(
        reasons.matches("the last refresh failed").count(),
        1,
        "{reasons}"
    );
    repo.heal();
    refresh_succeeds(&host);
    assert!(standing(&host).is_empty());

    let keys = r#""packages":["demo"],"options":{"expect":{"demo":"0.9"}}"#;
    let ids = [drop_request(&host, 1, keys), drop_request(&host, 2, keys)];
    for id in &ids {
        assert_eq!(settled(&host, id)["status"], "conflict");
    }
    host.wait_for("the alert", || standing(&host) == ["conflict-waiting"]);
    assert_eq!(property(&host, "Health"), "degraded");
    assert!(property(&host, "HealthReasons").contains("is in conflict and waits for"));
    host.sh(&format!("patchctl resolve --discard {}; true", ids[0]));
    host.wait_for("the first decision", || {
        settled(&host, &ids[0])["status"] == "cancelled"
    });
    assert_eq!(
        standing(&host),
        ["conflict-waiting"],
        "the second still waits"
    );
    host.sh(&format!("patchctl resolve --discard {}; true", ids[1]));
    host.wait_for("the end of the alert", || standing(&host).is_empty());
    assert_eq!(property(&host, "Health"), "healthy");

    for key in ["refresh-failing", "conflict-waiting"] {
        assert_eq!(counted(&host, id::ALERT_RAISED, key), 1, "{key}");
        assert_eq!(counted(&host, id::ALERT_RESOLVED, key), 1, "{key}");
    }
    host.wait_for("the hooks", || told(&host).len() == 4);
    assert_eq!(
        told(&host),
        [
            "refresh-failing raised",
            "refresh-failing resolved",
            "conflict-waiting raised",
            "conflict-waiting resolved"
        ]
    );
}

// fault: worker killed
releases!(a_worker_that_is_killed_leaves_its_alert_to_systemd [bookworm trixie]);
fn a_worker_that_is_killed_leaves_its_alert_to_systemd(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    hook(&host, "10-write", HOOK);
    repo.add(&fixtures::slow("demo", "1.1"));
    host.sh("systemctl start --no-block patch-apply@demo.service");
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    let pid = unit(&host, "patch-apply@demo.service", "MainPID");
    host.sh(&format!("kill -9 {pid}"));

    host.wait_for("the alert", || standing(&host) == ["update-failed"]);
    let reasons = property(&host, "HealthReasons");
    assert!(
        reasons.contains("patch-apply@demo.service died (signal, KILL)"),
        "{reasons}"
    );
    host.wait_for("the hook", || told(&host) == ["update-failed raised"]);
    let environment = host.read(TOLD);
    for given in [
        "MONITOR_UNIT=patch-apply@demo.service|",
        "MONITOR_SERVICE_RESULT=signal|",
        "MONITOR_EXIT_STATUS=KILL|",
    ] {
        assert!(environment.contains(given), "{given}: {environment}");
    }

    // systemd starts a worker that finishes what the dead one began, and that was a success
    host.write("/run/lab-release", "");
    host.wait_for("the end of the job", || {
        last_job(&host)["status"] == "succeeded"
    });
    assert_eq!(changes(&last_job(&host)), ["demo 1.0 -> 1.1"]);
    assert_eq!(events_of_kind(&host, id::JOB_INTERRUPTED).len(), 1);
    host.wait_for("the hook", || told(&host).len() == 2);
    assert_eq!(told(&host)[1], "update-failed resolved");
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn a_hook_that_fails_or_hangs_or_is_not_roots_does_no_harm() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    hook(
        &host,
        "10-fails",
        "#!/bin/sh\necho this went wrong >&2\nexit 3\n",
    );
    hook(
        &host,
        "20-hangs",
        "#!/bin/sh\ntouch /run/hangs\nexec sleep infinity\n",
    );
    hook(&host, "30-anybodys", "#!/bin/sh\ntouch /run/anybodys\n");
    hook(&host, "40-alices", "#!/bin/sh\ntouch /run/alices\n");
    hook(&host, "50-write", HOOK);
    host.sh(
        "useradd alice; cd /etc/linux_patch_api/alert.d; chmod 0777 30-anybodys; chown alice 40-alices",
    );
    repo.fault("", lab::Fault::Status(500));

    // the worker does not wait for the hooks
    let output = start(&host, "demo");
    assert!(!output.success(), "{output}");
    host.wait_for("the hook that hangs", || host.exists("/run/hangs"));
    repo.heal();
    repo.add(&fixtures::plain("demo", "1.1"));
    applied(&host, "demo");
    assert_eq!(property(&host, "Health"), "healthy");
    assert!(
        told(&host).is_empty(),
        "the hook that hangs is not through yet"
    );

    host.wait_for("the other hooks", || told(&host).len() >= 2);
    assert!(!host.exists("/run/anybodys") && !host.exists("/run/alices"));
    let failures = events(&host, "MESSAGE_ID", id::HOOK_FAILED);
    let why = |hook: &str| {
        let of = |event: &&Value| text(event, "PATCH_HOOK").ends_with(hook);
        let found = failures.iter().find(of);
        found
            .map_or("", |event| text(event, "PATCH_ERROR"))
            .to_owned()
    };
    assert!(why("10-fails").contains("exited with 3: this went wrong"));
    assert!(why("20-hangs").contains("after its limit of 30 s"));
    assert!(why("30-anybodys").contains("users other than root may write to it"));
    assert!(why("40-alices").contains("belongs to user"));
    let said = events(&host, "MESSAGE_ID", id::HOOK_OUTPUT);
    assert!(
        said.iter()
            .any(|event| text(event, "MESSAGE").contains("this went wrong"))
    );
}

#[test]
fn an_alert_that_was_seen_goes_without_a_success() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.fault("pool", lab::Fault::Status(404));
    repo.add(&fixtures::plain("demo", "1.1"));
    failed(&host, "demo");
    assert_eq!(standing(&host), ["update-failed"]);

    let refused = host.as_user("alice", "patchctl acknowledge update-failed");
    assert_eq!(refused.status, 77, "{refused}");
    let unknown = host.try_sh("patchctl acknowledge nothing");
    assert_eq!(unknown.status, 2, "{unknown}");
    let state = host.try_sh("patchctl acknowledge refresh-failing");
    assert_eq!(state.status, 2, "{state}");
    assert_eq!(standing(&host), ["update-failed"]);

    host.sh("patchctl acknowledge update-failed");
    assert!(standing(&host).is_empty());
    assert_eq!(property(&host, "Health"), "healthy");
    host.wait_for("the word", || {
        counted(&host, id::ALERT_RESOLVED, "update-failed") == 1
    });
    assert_eq!(last_job(&host)["status"], "failed", "the record stays");
    host.sh("systemctl is-active patch-apply.path");

    failed(&host, "demo");
    assert_eq!(
        standing(&host),
        ["update-failed"],
        "the next failure is news"
    );
    assert_eq!(counted(&host, id::ALERT_RAISED, "update-failed"), 2);
    host.sh("patchctl acknowledge all");
    assert!(standing(&host).is_empty());
}

#[test]
fn a_failure_is_taken_back_by_what_makes_up_for_it_alone() {
    let installed = ["demo", "tool", "web"].map(|name| fixtures::plain(name, "1.0"));
    let (host, repo) = host_with(Release::Trixie, &installed);
    repo.fault("demo_1.1", lab::Fault::Status(404));
    repo.add(&fixtures::plain("demo", "1.1"));
    // a caller that asks at that very moment sees it
    let asked = host.try_sh("patchctl apply all; patchctl health");
    assert!(asked.stdout.contains("degraded"), "{asked}");
    assert_eq!(standing(&host), ["update-failed"]);

    // neither an update of something else nor a look that finds nothing to do
    repo.add(&fixtures::plain("tool", "1.1"));
    applied(&host, "tool");
    applied(&host, "security");
    assert_eq!(standing(&host), ["update-failed"]);

    // what was rolled back stays told while another update fails, and one of another package succeeds
    repo.add(&fixtures::plain("demo", "1.2"));
    repo.add(&fixtures::plain("web", "1.0"));
    repo.add(&fixtures::plain("web", "1.1"));
    host.write(
        "/etc/linux_patch_api/verify.d/required.d/10-web",
        "#!/bin/sh\ncase \"$PATCH_STAGE $PATCH_PACKAGES\" in after*web:*) exit 1 ;; esac\n",
    );
    host.sh("chmod 0755 /etc/linux_patch_api/verify.d/required.d/10-web");
    let web = failed(&host, "web");
    assert_eq!(web["rollback"]["outcome"], "rolled_back", "{web:#}");
    assert_eq!(sorted(&host), ["rolled-back", "update-failed"]);
    repo.fault("tool_1.2", lab::Fault::Status(404));
    repo.add(&fixtures::plain("tool", "1.2"));
    failed(&host, "tool");
    assert_eq!(sorted(&host), ["rolled-back", "update-failed"]);
    applied(&host, "demo");
    assert_eq!(sorted(&host), ["rolled-back", "update-failed"]);

    repo.add(&fixtures::plain("tool", "1.3"));
    applied(&host, "tool");
    assert_eq!(standing(&host), ["rolled-back"]);
}

fn sorted(host: &Host) -> Vec<String> {
    let mut keys = standing(host);
    keys.sort();
    keys
}
