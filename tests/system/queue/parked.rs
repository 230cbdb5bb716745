//! Parked jobs: deferred until the network is back, in conflict until an administrator decides, cancelled.

use lab::{Fault, Host, Release, Repo, fixtures};

use crate::story::{self, installed};

fn host() -> (Host, Repo) {
    let host = Host::boot(Release::Trixie);
    let repo = Repo::new(&host);
    for name in ["demo", "other"] {
        repo.add(&fixtures::plain(name, "1.0"));
    }
    repo.enable(&host);
    host.sh("apt-get -q update && apt-get -q -y install demo other");
    for name in ["demo", "other"] {
        repo.add(&fixtures::plain(name, "1.1"));
    }
    (host, repo)
}

fn timer(host: &Host) -> String {
    host.try_sh("systemctl is-active patch-retry.timer")
        .stdout
        .trim()
        .to_owned()
}

#[test]
fn a_request_that_may_wait_is_served_when_the_network_is_back() {
    let (host, repo) = host();
    repo.stop();
    assert_eq!(
        timer(&host),
        "inactive",
        "nothing wakes the host while nothing is deferred"
    );
    let failing = host.try_sh("patchctl apply other");
    assert_eq!(
        failing.status, 1,
        "who did not ask to wait does not: {failing}"
    );
    let deferred = host.try_sh("patchctl apply demo --defer");
    assert_eq!(deferred.status, 75, "{deferred}");
    let id = deferred
        .stdout
        .split_whitespace()
        .nth(1)
        .unwrap()
        .trim_end_matches(':')
        .to_owned();
    assert_eq!(story::job(&host, &id)["status"], "deferred");
    assert_eq!(
        story::job(&host, &id)["request"]["options"]["expect"]["demo"],
        "1.0"
    );
    host.wait_for("the timer", || timer(&host) == "active");
    assert!(host.sh("patchctl queue").contains(&id));

    host.reboot();
    host.wait_for("the timer across reboots", || timer(&host) == "active");
    repo.start();
    // at once when the index can be refreshed again
    host.sh("systemctl start patch-refresh.service");
    assert_eq!(story::settled(&host, &id)["status"], "succeeded");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    host.wait_for("the timer to stop", || timer(&host) == "inactive");
}

#[test]
fn the_timer_tries_again_by_itself_and_a_new_request_is_served_at_once() {
    let (host, repo) = host();
    repo.stop();
    let deferred = host.try_sh("patchctl apply demo --defer");
    assert_eq!(deferred.status, 75, "{deferred}");
    host.wait_for("a second attempt by the timer", || {
        story::events(&host, "MESSAGE_ID", "3ceaaf308142c8ea91d93080f9b439fc").len() >= 2
    });
    host.wait_for("the timer to go on", || timer(&host) == "active");
    repo.start();
    host.sh("patchctl apply other");
    host.wait_for("the deferred one", || {
        installed(&host, "demo") == "1.1 installed"
    });
    host.wait_for("the timer to stop", || timer(&host) == "inactive");
}

#[test]
fn a_request_made_against_another_state_changes_nothing() {
    let (host, repo) = host();
    let submit = |host: &Host, options: &str| {
        host.sh(&format!("patchctl apply demo --no-wait {options}"))
            .trim()
            .to_owned()
    };
    let lock = story::hold_worker(&host);
    let expecting = submit(&host, "--expect demo=1.0");
    let dated = submit(&host, "--if-unmodified-since 2020-01-01T00:00:00Z");
    let holding = submit(&host, "--expect demo=1.1");
    let queue = host.sh("patchctl queue");
    for id in [&expecting, &dated, &holding] {
        assert!(queue.contains(id.as_str()), "{id} waits: {queue}");
    }
    host.sh("apt-get -q update && apt-get -q -y install demo=1.1");
    repo.add(&fixtures::plain("demo", "1.2"));
    lock.release(&host);
    assert_eq!(story::settled(&host, &expecting)["status"], "conflict");
    assert_eq!(story::settled(&host, &dated)["status"], "conflict");
    assert_eq!(
        story::settled(&host, &holding)["status"],
        "succeeded",
        "its precondition holds"
    );
    assert_eq!(installed(&host, "demo"), "1.2 installed");

    let conflicts = host.sh("ls /var/lib/linux_patch_api/conflicts");
    assert!(
        conflicts.contains(&format!("{expecting}.conflict-2")),
        "{conflicts}"
    );
    assert!(host.sh("patchctl conflicts").contains(&expecting));
    let events = story::events(&host, "MESSAGE_ID", "9dfb369bab13dfae627655daa05f1119");
    assert_eq!(events.len(), 2);

    host.sh(&format!("patchctl resolve {dated} --discard"));
    assert_eq!(story::job(&host, &dated)["status"], "cancelled");
    repo.add(&fixtures::plain("demo", "1.3"));
    host.sh(&format!("patchctl resolve {expecting} --apply"));
    assert_eq!(installed(&host, "demo"), "1.3 installed");
    assert_eq!(host.sh("patchctl conflicts").trim(), "no conflicts");
    let again = host.try_sh(&format!("patchctl resolve {expecting} --apply"));
    assert_eq!(again.status, 2, "{again}");
}

#[test]
fn what_was_done_meanwhile_is_no_conflict() {
    let (host, _repo) = host();
    let lock = story::hold_worker(&host);
    let id = host
        .sh("patchctl apply demo --no-wait --expect demo=1.0")
        .trim()
        .to_owned();
    host.sh("apt-get -q update && apt-get -q -y install demo=1.1");
    lock.release(&host);
    let job = story::settled(&host, &id);
    assert_eq!(job["status"], "succeeded", "{job}");
    assert_eq!(job["changes"], serde_json::json!([]));
}

// fault: worker told to stop, or cancelled
#[test]
fn cancelling_ends_a_job_before_its_packages_change_and_leaves_the_others() {
    let (host, repo) = host();
    repo.fault("pool", Fault::Hang);
    let lock = story::hold_worker(&host);
    let cancelled = host.sh("patchctl apply demo --no-wait").trim().to_owned();
    let kept = host.sh("patchctl apply other --no-wait").trim().to_owned();
    let waiting = host
        .sh("patchctl apply demo other --no-wait")
        .trim()
        .to_owned();
    let _cancel = host.spawn(&format!("patchctl cancel {waiting}"));
    host.wait_for("the decision to be queued", || {
        host.exists(&format!("{}/{waiting}.cancel", story::QUEUE))
    });
    lock.release(&host);
    host.wait_for("the download", || {
        repo.requests().iter().any(|path| path.contains("_1.1"))
    });
    let answer = host.try_sh(&format!("timeout 100 patchctl cancel {cancelled}"));
    assert!(answer.success(), "{answer}");
    assert_eq!(
        story::settled(&host, &waiting)["status"],
        "cancelled",
        "also one that waited"
    );
    assert_eq!(story::job(&host, &cancelled)["status"], "cancelled");
    repo.heal();
    assert_eq!(story::settled(&host, &kept)["status"], "succeeded");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(installed(&host, "other"), "1.1 installed");
    let late = host.try_sh(&format!("patchctl cancel {kept}"));
    assert_eq!(late.status, 2, "{late}");
    assert!(late.stderr.contains("has ended already"), "{late}");
}

// fault: worker told to stop, or cancelled
#[test]
fn a_job_whose_packages_change_cannot_be_cancelled_any_more() {
    let (host, repo) = host();
    repo.add(&fixtures::slow("demo", "1.5"));
    let id = host.sh("patchctl apply demo --no-wait").trim().to_owned();
    host.wait_for("the package's script", || {
        host.exists("/run/lab-slow-started")
    });
    let cancel = host.spawn(&format!("patchctl cancel {id}"));
    host.wait_for("the decision to be queued", || {
        host.exists(&format!("{}/{id}.cancel", story::QUEUE))
    });
    host.write("/run/lab-release", "");
    let answer = cancel.wait();
    assert_eq!(answer.status, 1, "{answer}");
    assert_eq!(story::settled(&host, &id)["status"], "succeeded");
    host.wait_for("the mark to go", || {
        host.sh(&format!("ls {}", story::QUEUE)).is_empty()
    });
}
