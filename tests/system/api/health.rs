//! The health of the host: also where a front end may not read the state, where units that start the worker are
//! broken, and during an update.

use lab::fixtures::{plain, slow};
use lab::{Fault, Host, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, host_with, id_of};
use crate::story::{
    STATE, events, hold_worker, last_job, property, refresh, refresh_succeeds, settled, state, unit,
};

const ALICE: &str = "alice";

/// The whole picture, as an ordinary user is told it.
fn status(host: &Host) -> Value {
    let output = host.as_user(ALICE, "patchctl status --json");
    assert!(output.success(), "{output}");
    serde_json::from_str(&output.stdout).expect("no picture")
}

/// The reasons why the host is degraded, in one text; empty when it is not.
fn reasons(host: &Host) -> String {
    let output = host.as_user(ALICE, "patchctl health");
    assert!(output.success(), "{output}");
    let (word, reasons) = output.stdout.split_once('\n').expect("no line");
    assert_eq!(word == "healthy", reasons.is_empty(), "{output}");
    reasons.to_owned()
}

/// What the Varlink socket says of the host.
fn over_varlink(host: &Host) -> Value {
    let socket = "/run/linux_patch_api/request.sock";
    let call = format!("varlinkctl call -j {socket} org.linux-patch.Agent1.GetHealth '{{}}'");
    let answer: Value = serde_json::from_str(&host.sh(&call)).expect("no answer");
    answer["health"].clone()
}

#[test]
fn a_fragment_that_is_edited_in_place_is_seen_at_once() {
    let (host, _repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let fragment = "/etc/linux_patch_api/config.d/10-mine.toml";
    host.write(fragment, "backend = \"apt\"\n");
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Health"), "healthy");
    let service = unit(&host, "patch-agent.service", "MainPID");

    host.sh(&format!("echo 'nonsense = 1' >> {fragment}"));

    assert_eq!(property(&host, "Health"), "degraded");
    let why = property(&host, "HealthReasons");
    assert!(
        why.contains("10-mine.toml") && why.contains("nonsense"),
        "{why}"
    );
    host.sh(&format!("echo 'backend = \"apt\"' > {fragment}"));
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(
        unit(&host, "patch-agent.service", "MainPID"),
        service,
        "by the same service"
    );
}

#[test]
fn what_a_front_end_cannot_read_is_a_reason_and_the_refresh_mends_it() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let job = applied(&host, "demo");
    assert_eq!(reasons(&host), "");
    let owners = format!("cd {STATE} && stat -c '%a %U %G %n' . *");
    let before = host.sh(&owners);

    for breaking in [
        "chmod 0700 state",
        "chmod 0600 state/cache.json",
        // as after a restored backup, or an administrator who has cleaned up
        "for d in queue jobs tmp keys inquiries conflicts deferred; do \
           cp -r $d $d.new && rm -r $d && mv $d.new $d && chmod 0755 $d && chown -R root:root $d; done",
        "chown linux-patch: . state packages",
    ] {
        // a caller who looks asks the worker and the planner for something, and both of them mend it
        let workers = hold_worker(&host);
        host.sh(&format!("cd {STATE} && {breaking}"));
        if !breaking.starts_with("chown") {
            let why = host.as_user(ALICE, "patchctl health --cached").stdout;
            assert!(why.starts_with("degraded\n"), "{breaking}: {why}");
            assert!(why.contains("cannot"), "{breaking}: {why}");
            assert!(why.contains(STATE), "{breaking}: {why}");
            assert!(
                why.contains("systemctl start patch-refresh.service"),
                "{why}"
            );
        }
        workers.release(&host);
        let output = refresh(&host);
        assert!(output.success(), "{output}");
        host.wait_for(&format!("owners and modes after '{breaking}'"), || {
            host.sh(&owners) == before
        });
        assert_eq!(reasons(&host), "", "{breaking}");
    }

    // and the service can do again what it is for
    let log = host.as_user(ALICE, &format!("patchctl log {}", id_of(&job)));
    assert!(log.stdout.contains("demo:all 1.0 -> 1.1"), "{log}");
    assert!(host.try_sh("patchctl apply demo").success());
}

#[test]
fn a_unit_that_no_longer_starts_the_worker_is_a_reason() {
    let (host, _repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    refresh_succeeds(&host);
    assert_eq!(reasons(&host), "");
    for name in [
        "patch-apply.path",
        "patch-plan.path",
        "patch-request.socket",
        "patch-refresh.timer",
    ] {
        let says = |what: &str, hint: &str| {
            host.wait_for(&format!("{name} is {what}"), || {
                reasons(&host).contains(&format!("{name} is {what}"))
            });
            let why = reasons(&host);
            assert!(why.contains(&format!("'systemctl {hint} {name}'")), "{why}");
        };
        let is_well = || host.wait_for("the host to be well", || reasons(&host).is_empty());

        host.sh(&format!("systemctl stop {name}"));
        says("stopped", "start");
        if name != "patch-request.socket" {
            assert_eq!(over_varlink(&host)["status"], "degraded");
        }
        host.wait_for("the property", || property(&host, "Health") == "degraded");
        let healed = events(&host, "MESSAGE_ID", message::UNITS_HEALED).len();
        refresh_succeeds_degraded(&host);
        assert_eq!(unit(&host, name, "ActiveState"), "active", "mended");
        let told = events(&host, "MESSAGE_ID", message::UNITS_HEALED);
        assert_eq!(told.len(), healed + 1, "{told:#?}");
        is_well();

        host.sh(&format!("systemctl disable {name} 2>&1"));
        says("disabled", "enable");
        host.sh(&format!("systemctl stop {name}"));
        says("stopped and disabled", "enable --now");
        // which the caller may have meant
        refresh_succeeds_degraded(&host);
        assert_eq!(unit(&host, name, "ActiveState"), "inactive");
        host.sh(&format!("systemctl mask --now {name} 2>&1"));
        says("masked", "unmask");
        refresh_succeeds_degraded(&host);
        assert_eq!(unit(&host, name, "LoadState"), "masked");
        host.sh(&format!(
            "systemctl unmask {name} 2>&1; systemctl enable --now {name} 2>&1"
        ));
        is_well();
    }
    host.wait_for("the property", || property(&host, "Health") == "healthy");
}

/// A refresh that succeeds, on a host that is degraded for another reason.
fn refresh_succeeds_degraded(host: &Host) {
    let output = refresh(host);
    assert!(output.success(), "{output}");
}

#[test]
fn health_answers_by_its_exit_status_and_at_once_when_asked_to() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let run = |arguments: &str| host.as_user(ALICE, &format!("patchctl {arguments}"));
    let workers = hold_worker(&host);
    // no worker serves the refresh that the look has asked for, and no caller waits for it
    let unknown = run("health --cached --exit-status");
    assert_eq!(unknown.status, 2, "{unknown}");
    assert!(unknown.stdout.contains("never refreshed"), "{unknown}");
    let status = run("status --cached");
    assert!(
        status.success() && status.stdout.contains("unknown, refreshed never"),
        "{status}"
    );
    assert_eq!(run("health --cached").status, 0, "it was not asked to tell");
    workers.release(&host);

    assert_eq!(run("health --exit-status").status, 0);
    assert_eq!(run("health --cached --exit-status").status, 0);
    let json = run("health --cached --exit-status --json");
    assert!(json.stdout.contains(r#""status":"healthy""#), "{json}");

    // a mirror that never answers holds no caller up
    host.sh(&format!("rm {STATE}/state/cache.json"));
    repo.take_requests();
    repo.fault("InRelease", Fault::Hang);
    assert_eq!(run("health --cached --exit-status").status, 2);
    host.wait_for("the refresh", || !repo.requests().is_empty());
    assert_eq!(run("health --cached --exit-status").status, 2);
    let waiting = run("status --cached --json");
    let picture: Value = serde_json::from_str(&waiting.stdout).expect("no picture");
    assert_ne!(picture["current_job"], "", "it is still at it: {picture:#}");

    let id = picture["current_job"].as_str().expect("no job").to_owned();
    host.sh(&format!("patchctl cancel {id}"));
    repo.heal();
    repo.stop();
    assert!(!refresh(&host).success());
    for arguments in ["health --exit-status", "health --cached --exit-status"] {
        let degraded = run(arguments);
        assert_eq!(degraded.status, 1, "{degraded}");
        assert!(degraded.stdout.starts_with("degraded\n"), "{degraded}");
    }
}

#[test]
fn security_updates_kept_back_are_counted_and_a_reason_after_a_week() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("tool", "1.0")],
    );
    repo.add(&plain("tool", "1.1"));
    let security = Repo::builder("security").security().build(&host);
    security.enable(&host);
    security.add(&plain("demo", "1.1"));
    host.sh("apt-mark hold demo");
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "1");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "0");
    assert_eq!(property(&host, "KeptBackSecurityUpdates"), "1");
    let picture = status(&host);
    assert_eq!(picture["kept_back_security_updates"], 1, "{picture:#}");
    assert_eq!(over_varlink(&host)["kept_back_security_updates"], 1);
    let shown = host.sh("patchctl status");
    assert!(shown.contains("1 security update is kept back"), "{shown}");
    assert_eq!(reasons(&host), "");

    // eight days pass, in the record of when it was first seen
    let past = "import json, sys\nname = sys.argv[1]\nlist = json.load(open(name))\n\
        list['kept_since'] = {package: '2026-01-02T03:04:05Z' for package in list['kept_since']}\n\
        json.dump(list, open(name, 'w'))";
    let file = format!("{STATE}/state/updates.json");
    host.run(&["python3", "-c", past, &file])
        .expect("no python");
    let why = reasons(&host);
    assert!(
        why.contains("the security update of demo has been kept back for more than 7 days"),
        "{why}"
    );
    // the next list carries that on
    repo.add(&plain("tool", "1.2"));
    refresh(&host);
    assert!(reasons(&host).contains("demo has been kept back"));
    host.sh("apt-mark unhold demo");
    refresh(&host);
    assert_eq!(reasons(&host), "");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "1");
    assert_eq!(property(&host, "KeptBackSecurityUpdates"), "0");
}

// fault: power cut
#[test]
fn an_interrupted_job_is_reported_until_it_is_finished() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&slow("demo", "1.1"));
    host.write(
        "/etc/systemd/system/patch-recover.service.d/wait.conf",
        "[Unit]\nConditionPathExists=/run/lab-go-on\n",
    );
    let _running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    let job = last_job(&host);
    assert_eq!(reasons(&host), "", "a job that runs is no reason");
    host.power_cut();
    host.start();

    let why = host.sh("patchctl health --cached");
    let said = format!("job {} was interrupted", id_of(&job));
    assert!(
        why.starts_with("degraded\n") && why.contains(&said),
        "{why}"
    );
    assert!(host.sh("patchctl status --cached").contains(&said));
    assert_eq!(property(&host, "Health"), "degraded");
    host.sh("touch /run/lab-go-on /run/lab-release; systemctl start patch-recover.service");
    let job = settled(&host, id_of(&job));
    assert_eq!(job["status"], "succeeded", "{job:#}");
    host.wait_for("the end of it", || reasons(&host).is_empty());
}

#[test]
fn a_refresh_and_a_rollback_show_nothing_of_the_job_before() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("tool", "1.0")],
    );
    repo.add(&plain("demo", "1.0"));
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    repo.remove_from_pool("tool", "1.1");
    let done = applied(&host, "demo");
    assert!(!host.try_sh("patchctl apply tool").success());
    assert_eq!(state(&host, "state/update.json")["phase"], "failed");

    let workers = hold_worker(&host);
    let refresh = host.spawn("patchctl refresh > /run/refresh.out 2>&1");
    host.wait_for("the request", || property(&host, "QueueLength") == "1");
    workers.release(&host);
    assert!(refresh.wait().success());
    let back = format!("patchctl rollback {} > /run/back.out 2>&1", id_of(&done));
    assert!(
        host.try_sh(&back).success(),
        "{}",
        host.read("/run/back.out")
    );
    for file in ["/run/refresh.out", "/run/back.out"] {
        let shown = host.read(file);
        for of_the_former in ["failed", "rolled_back", "idle"] {
            assert!(!shown.contains(of_the_former), "{file}: {shown}");
        }
    }
}
