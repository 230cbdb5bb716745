//! The command line: what administrators and programs read, and what the exit code says.

use lab::{Deb, Host, Release, fixtures};
use serde_json::Value;

use super::schemas;
use crate::job::{applied, host_with, id_of};
use crate::story::{installed, jobs, property};

const ALICE: &str = "alice";

#[test]
fn an_ordinary_user_reads_everything_and_root_applies() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let read = |verb: &str| {
        let output = host.as_user(ALICE, &format!("patchctl {verb}"));
        assert!(output.success(), "{verb}: {output}");
        output.stdout
    };
    assert_eq!(read("health"), "healthy\n", "the first look refreshes");
    let status = read("status");
    for line in [
        "Health  healthy",
        "Index  fresh, refreshed 20",
        "stable: ok",
        "Pending  1 update, 0 of them security, since 20",
        "Queue  0 waiting",
        "Version  2.0.0 (apt)",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let updates = read("updates");
    let columns: Vec<&str> = updates.lines().nth(1).unwrap().split_whitespace().collect();
    // size and age depend on the tools that packed it, and on the speed of the host
    assert_eq!(columns[..3], ["demo:all", "1.0", "1.1"], "{updates}");
    assert_eq!(columns.last(), Some(&"Lab:stable"), "{updates}");

    for verb in [
        "apply demo",
        "refresh",
        "apply demo --direct",
        "refresh --direct",
    ] {
        let output = host.as_user(ALICE, &format!("patchctl {verb}"));
        assert_eq!(output.status, 77, "{verb}: {output}");
        assert!(
            output.stderr.starts_with("patchctl: ") && output.stderr.lines().count() == 1,
            "{output}"
        );
    }
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    let apply = host.sh("patchctl apply demo");
    assert!(
        apply.contains(": succeeded\n  demo:all 1.0 -> 1.1\n"),
        "{apply}"
    );
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(read("updates"), "nothing is pending\n");
    let again = host.sh("patchctl apply demo");
    assert!(again.ends_with(": succeeded: nothing to do\n"), "{again}");
    assert!(host.sh("patchctl refresh").ends_with(": succeeded\n"));
    let later = host.sh("patchctl apply all --no-wait");
    host.wait_for("the job nobody waits for", || {
        let job = jobs(&host).pop().expect("no job");
        id_of(&job) == later.trim() && job["status"] == "succeeded"
    });

    let listed = read("jobs");
    assert_eq!(listed.lines().count(), 1 + jobs(&host).len(), "{listed}");
    assert!(
        listed.lines().nth(1).unwrap().starts_with(later.trim()),
        "the newest is the first: {listed}"
    );
    assert_eq!(read("jobs --limit 2").lines().count(), 3);
    let job = apply.split([' ', ':']).nth(1).unwrap();
    let log = read(&format!("log {job}"));
    assert!(
        log.contains("demo:all 1.0 -> 1.1") && log.contains("Setting up demo (1.1)"),
        "{log}"
    );
}

#[test]
fn what_programs_read_is_json_of_a_fixed_form() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let read = |verb: &str| -> Value {
        let output = host.as_user(ALICE, &format!("patchctl {verb} --json"));
        assert!(output.success(), "{verb}: {output}");
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{verb}: {error}: {output}"))
    };
    let before = read("health");
    assert_eq!(
        keys(&before),
        [
            "cache_status",
            "last_cache_update",
            "status",
            "uptime_seconds",
            "version"
        ]
    );
    assert_eq!(
        (&before["status"], &before["version"]),
        (&"healthy".into(), &"2.0.0".into())
    );
    assert_eq!(before["cache_status"], "fresh");
    assert!(
        before["uptime_seconds"].is_u64() && before["last_cache_update"].is_string(),
        "{before}"
    );

    let updates = read("updates");
    assert_eq!(updates[0]["candidate"], "1.1");
    schemas::holds(&host, "updates", &updates);
    schemas::holds(&host, "health", &before);
    schemas::holds(&host, "plan", &read("plan all"));
    let waits = host.as_user(ALICE, "patchctl status --json").stdout;
    let waits: Value = serde_json::from_str(&waits).unwrap();
    assert!(waits["pending_since"].is_string(), "{waits}");
    assert_eq!(waits["last_success_at"], Value::Null);
    let job = applied(&host, "demo");
    let status = read("status");
    schemas::holds(&host, "status", &status);
    assert_eq!(status["phase"], "success");
    assert_eq!(status["pending_since"], Value::Null);
    assert_eq!(status["last_success_at"], job["update"]["updated_at"]);
    says_which_host_it_is(&host, &status);
    let listed = read("jobs");
    assert_eq!(listed[0]["request"]["id"], id_of(&job));
    schemas::holds(&host, "job", &listed[0]);
    let record = read(&format!("log {}", id_of(&job)));
    schemas::holds(&host, "job", &record);
    for (key, value) in job["changes"][0].as_object().expect("no change") {
        assert_eq!(record["changes"][0][key], *value, "{key}");
    }

    // a host that could never refresh has no date, and says so, as well as what its list is worth
    host.sh("rm /var/lib/linux_patch_api/state/cache.json");
    repo.stop();
    let list = host.as_user(ALICE, "patchctl updates");
    assert!(
        list.success()
            && list
                .stderr
                .contains("the package index is not fresh (failed): http"),
        "{list}"
    );
    let never = read("health");
    assert_eq!(keys(&never), keys(&before));
    assert_eq!(never["last_cache_update"], Value::Null);
    assert_eq!(
        (&never["status"], &never["cache_status"]),
        (&"degraded".into(), &"failed".into())
    );
}

/// The host's own tools say the same.
fn says_which_host_it_is(host: &Host, status: &Value) {
    let says = |script: &str| host.sh(script).trim().to_owned();
    assert_eq!(status["hostname"], says("hostname"));
    assert_eq!(status["kernel"], says("uname -r"));
    assert_eq!(
        status["boot_id"],
        says("cat /proc/sys/kernel/random/boot_id")
    );
    assert_eq!(status["os"]["id"], "debian");
    assert_eq!(status["os"]["version_id"], "13");
    assert_eq!(status["os"]["architecture"], says("uname -m"));
    let application = "6b0c1a5e8f2d4c379a41d35b27e86094";
    let derived = format!("systemd-id128 machine-id --app-specific={application}");
    assert_eq!(status["host_id"], says(&derived));

    assert_eq!(status["protocol"], 1);
    assert_eq!(property(host, "ProtocolVersion"), "1");
    let commit = property(host, "Commit");
    assert_eq!(status["commit"], commit.as_str());
    assert!(!commit.is_empty() && !commit.contains('$'), "{commit}");
    let version = format!("patchctl 2.0.0 (commit {commit})");
    assert_eq!(says("patchctl --version"), version);
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object
        .as_object()
        .expect("no object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let run = |arguments: &str| host.try_sh(&format!("patchctl {arguments}"));
    wrong_arguments_are_refused(&host);

    repo.stop();
    let offline = run("refresh");
    assert_eq!(offline.status, 1, "{offline}");
    assert!(
        offline
            .stdout
            .contains("failed: refresh failed: http://127.0.0.1"),
        "{offline}"
    );
    assert_eq!(run("apply demo --direct").status, 1);
    repo.start();

    without_a_bus_only_direct_works(&host);
}

fn wrong_arguments_are_refused(host: &Host) {
    let run = |arguments: &str| host.try_sh(&format!("patchctl {arguments}"));
    for arguments in [
        "",
        "wrong",
        "health --wrong",
        "apply",
        "apply demo-",
        "apply 'de*'",
        "apply ''",
        "apply demo=1.1",
        "apply all demo",
        "apply demo --direct --no-wait",
        "apply demo --no-wait --json",
        "apply demo --direct --timeout 5",
        "log --follow --json 0123456789abcdef-012345",
        "wait",
        "wait 0123456789abcdef-012345",
        "apply demo- --direct",
        "jobs --limit x",
        "log",
        "log ../../etc/passwd",
        "log 0123456789abcdef-012345",
    ] {
        let output = run(arguments);
        assert_eq!(output.status, 2, "{arguments}: {output}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments}: {output}"
        );
    }
    for arguments in [
        "apply not-there",
        "plan not-there",
        "apply not-there --direct",
    ] {
        let unknown = run(arguments);
        assert_eq!(unknown.status, 2, "{arguments}: {unknown}");
        assert!(
            unknown.stderr.contains("not-there is not installed"),
            "{arguments}: {unknown}"
        );
    }
    assert_eq!(jobs(host), Vec::<Value>::new());
}

fn without_a_bus_only_direct_works(host: &Host) {
    let run = |arguments: &str| host.try_sh(&format!("patchctl {arguments}"));
    let elsewhere = |arguments: &str| run(&format!("{arguments} </dev/null"));
    host.sh("systemctl stop dbus.socket dbus.service");
    for arguments in [
        "status",
        "health --json",
        "updates",
        "refresh",
        "apply demo",
        "jobs",
    ] {
        let output = elsewhere(arguments);
        assert_eq!(output.status, 69, "{arguments}: {output}");
        assert!(output.stderr.contains("--direct"), "{output}");
    }
    let direct = run("apply demo --direct");
    assert_eq!(direct.status, 0, "no bus is needed: {direct}");
    assert_eq!(installed(host, "demo"), "1.1 installed");
    assert!(
        direct.stderr.contains("demo"),
        "the log is on the terminal: {direct}"
    );
    assert_eq!(run("refresh --direct").status, 0);
}

#[test]
fn a_job_is_waited_for_as_long_as_is_said_and_its_log_followed() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    let script = "echo first; touch /run/lab-slow-started; \
        while ! [ -e /run/lab-release ]; do sleep 0.1; done; echo last";
    repo.add(&Deb::new("demo", "1.1").postinst(script));
    let ended = host.try_sh("patchctl apply demo --timeout 0 --json");
    assert_eq!(ended.status, 75, "{ended}");
    let record: Value = serde_json::from_str(&ended.stdout).expect("no JSON");
    schemas::holds(&host, "job", &record);
    let id = id_of(&record).to_owned();
    let words = format!("job {id} goes on; ask: patchctl wait {id}");
    assert!(ended.stderr.contains(&words), "{ended}");

    host.wait_for("the script", || host.exists("/run/lab-slow-started"));
    let waited = host.try_sh(&format!("patchctl wait {id} --timeout 1s"));
    assert_eq!(waited.status, 75, "{waited}");
    assert!(
        waited.stderr.contains(&words) && waited.stdout.is_empty(),
        "{waited}"
    );
    // what the package manager does at the moment is in the record, for every user
    let running = host.as_user(ALICE, &format!("patchctl log --json {id}"));
    let running: Value = serde_json::from_str(&running.stdout).expect("no JSON");
    assert!(running["progress"].as_u64() >= Some(50), "{running}");
    assert!(
        running["action"]
            .as_str()
            .is_some_and(|action| action.contains("demo")),
        "{running}"
    );

    // a second job waits for the first, and says so
    let second = host.spawn("patchctl apply demo");
    host.wait_for("the second job to say what it waits for", || {
        second
            .output_so_far()
            .contains(&format!("waiting: job {id} runs"))
    });
    let follower = host.spawn(&format!("patchctl log -f {id}"));
    host.wait_for("what was printed until now", || {
        follower.output_so_far().contains("first\n")
    });
    assert!(!follower.output_so_far().contains("last"));
    // the person at the terminal leaves, and the job does not mind
    let left = host.spawn(&format!("echo $$ >/run/left; exec patchctl wait {id}"));
    host.wait_for("the client to wait", || {
        left.output_so_far().contains("activated")
    });
    host.sh("kill -INT $(cat /run/left)");
    let left = left.wait();
    assert!(!left.success() && left.stderr.contains(&words), "{left}");

    host.sh("touch /run/lab-release");
    let followed = follower.wait();
    assert!(followed.success(), "{followed}");
    let shown: Vec<&str> = followed.stdout.lines().collect();
    let at = |text: &str| shown.iter().position(|line| *line == text);
    assert!(
        at("first") < at("last") && at("last").is_some(),
        "{followed}"
    );
    assert!(
        followed.stdout.contains(&format!("job {id}: succeeded")),
        "{followed}"
    );
    let waited = host.try_sh(&format!("patchctl wait {id} --json"));
    assert!(waited.success(), "{waited}");
    let record: Value = serde_json::from_str(&waited.stdout).expect("no JSON");
    assert_eq!(record["status"], "succeeded");
    assert!(second.wait().success());
    let whole = host.sh(&format!("patchctl log {id}"));
    assert!(whole.ends_with('\n') && whole.contains("last\n"), "{whole}");
}
