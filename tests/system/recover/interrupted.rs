//! Stopped and killed workers, and inhibited shutdowns: before activation nothing changes, after it all is finished.

use lab::fixtures::{plain, slow};
use lab::{Fault, Host, Release, Repo, Spawned};
use linux_patch_api::journal::id as message;

use crate::job::{applied, changes, events_of_kind, host_with, id_of, list, start, text};
use crate::story::{installed, jobs, last_job, property, state, unit};

const UNIT: &str = "patch-apply@demo.service";

/// A host on which an update of `demo` hangs in its download.
fn downloading(release: Release) -> (Host, Repo, Spawned) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.fault("demo_1.1", Fault::Hang);
    let running = host.spawn(&format!("systemctl start {UNIT}"));
    host.wait_for("the download", || {
        repo.requests().iter().any(|path| path.contains("demo_1.1"))
    });
    (host, repo, running)
}

/// A host on which an update of `demo` stays in its postinst.
fn configuring(release: Release) -> (Host, Repo, Spawned) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&slow("demo", "1.1"));
    let running = host.spawn(&format!("systemctl start {UNIT}"));
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    (host, repo, running)
}

fn kill(host: &Host, signal: &str) {
    host.sh(&format!(
        "systemctl kill --kill-whom=main --signal={signal} {UNIT}"
    ));
}

fn upgrades_of_demo(host: &Host) -> usize {
    host.read("/var/log/dpkg.log")
        .matches(" upgrade demo:")
        .count()
}

// fault: worker told to stop, or cancelled
releases!(a_stop_before_activation_cancels_the_job_and_changes_nothing [bookworm trixie]);
fn a_stop_before_activation_cancels_the_job_and_changes_nothing(release: Release) {
    let (host, repo, running) = downloading(release);

    kill(&host, "TERM");

    assert!(!running.wait().success(), "the update was not made");
    let job = last_job(&host);
    assert_eq!(job["status"], "cancelled", "{job:#}");
    assert_eq!(changes(&job), [""; 0]);
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(upgrades_of_demo(&host), 0);
    assert_eq!(events_of_kind(&host, message::JOB_CANCELLED).len(), 1);
    assert_eq!(
        host.try_sh("pgrep --list-full apt-get").stdout,
        "",
        "nothing is left running"
    );

    repo.heal();
    let job = applied(&host, "demo");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: worker told to stop, or cancelled
#[test]
fn a_stop_during_the_refresh_cancels_the_job_and_blames_no_source() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    host.sh("systemctl start patch-refresh.service");
    let known = state(&host, "state/cache.json");
    repo.take_requests();
    repo.fault("InRelease", Fault::Hang);
    let running = host.spawn(&format!("systemctl start {UNIT}"));
    host.wait_for("the refresh", || !repo.requests().is_empty());

    kill(&host, "TERM");

    assert!(!running.wait().success());
    let job = last_job(&host);
    assert_eq!(job["status"], "cancelled", "{job:#}");
    assert_eq!(state(&host, "state/cache.json"), known);
    assert_eq!(property(&host, "CacheStatus"), "fresh");
    assert_eq!(events_of_kind(&host, message::REFRESH_FAILED).len(), 0);
    assert_eq!(installed(&host, "demo"), "1.0 installed");
}

// fault: worker told to stop, or cancelled
releases!(a_stop_during_activation_lets_the_transaction_be_finished [bookworm trixie]);
fn a_stop_during_activation_lets_the_transaction_be_finished(release: Release) {
    let (host, _repo, running) = configuring(release);
    // the worker hears of it from the package manager, a moment later
    host.wait_for("the phase", || property(&host, "Phase") == "activated");
    assert_eq!(property(&host, "ToVersion"), "1.1");
    assert_ne!(property(&host, "CurrentJob"), "");
    let inhibitors = host.sh("systemd-inhibit --list --no-pager");
    let ours = inhibitors
        .lines()
        .find(|line| line.contains("linux-patch-api"));
    let ours = ours.unwrap_or_else(|| panic!("no inhibitor of ours:\n{inhibitors}"));
    assert!(
        ours.contains("shutdown") && ours.contains("block"),
        "{ours}"
    );
    for verb in ["stop", "restart"] {
        let refused = host.try_sh(&format!("systemctl {verb} {UNIT} 2>&1"));
        assert!(
            !refused.success() && refused.stdout.contains("refused"),
            "{refused}"
        );
    }
    host.wait_for("the status to say what it is doing", || {
        let status = unit(&host, UNIT, "StatusText");
        status.contains("%: Configuring demo")
    });

    kill(&host, "TERM");
    kill(&host, "INT");
    assert_eq!(unit(&host, UNIT, "ActiveState"), "activating");
    host.write("/run/lab-release", "");

    assert!(running.wait().success());
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
    let inhibitors = host.sh("systemd-inhibit --list --no-pager");
    assert!(!inhibitors.contains("linux-patch-api"), "{inhibitors}");
}

// fault: worker killed
releases!(a_job_of_a_worker_killed_during_activation_is_judged_by_the_next [bookworm trixie]);
fn a_job_of_a_worker_killed_during_activation_is_judged_by_the_next(release: Release) {
    let (host, repo, running) = configuring(release);
    repo.add(&plain("other", "1.1"));
    kill(&host, "KILL");
    assert!(!running.wait().success());
    assert_eq!(
        installed(&host, "demo"),
        "1.1 half-configured",
        "dpkg goes on without us"
    );

    // systemd starts the next worker, which must not judge while dpkg is still at it
    host.wait_for("the next worker to wait", || {
        events_of_kind(&host, message::WAITING).len() == 1
    });
    let next = host.spawn("systemctl start patch-apply@other.service");
    let waiting = &events_of_kind(&host, message::WAITING)[0];
    assert!(
        text(waiting, "MESSAGE").contains("is held by process"),
        "{waiting:#}"
    );
    assert_eq!(jobs(&host)[0]["status"], "running");
    host.write("/run/lab-release", "");

    assert!(next.wait().success());
    let (killed, next) = (&jobs(&host)[0], &jobs(&host)[1]);
    assert_eq!(killed["status"], "succeeded", "{killed:#}");
    assert_eq!(changes(killed), ["demo 1.0 -> 1.1"]);
    assert!(
        list(killed, "notes")[0]
            .as_str()
            .unwrap_or("")
            .contains("interrupted")
    );
    assert_eq!(changes(next), ["other 1.0 -> 1.1"]);
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(upgrades_of_demo(&host), 1, "never applied twice");
    let interrupted = events_of_kind(&host, message::JOB_INTERRUPTED);
    assert_eq!(interrupted.len(), 1);
    assert_eq!(interrupted[0]["PATCH_JOB"], id_of(killed));
    assert_eq!(events_of_kind(&host, message::PACKAGE_CHANGED).len(), 2);
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: worker killed
#[test]
fn a_worker_killed_before_activation_loses_and_repeats_nothing() {
    for release in [Release::Trixie, Release::Bookworm] {
        a_killed_download_is_done_once(release);
    }
}

fn a_killed_download_is_done_once(release: Release) {
    let (host, repo, running) = downloading(release);
    repo.add(&plain("other", "1.1"));
    kill(&host, "KILL");
    assert!(!running.wait().success());

    // another worker comes by itself, and has shut the gate by now
    host.wait_for("the next worker", || {
        events_of_kind(&host, message::JOB_INTERRUPTED).len() == 1
    });
    repo.heal();
    let next = host.spawn("systemctl start patch-apply@other.service");

    assert!(next.wait().success());
    assert_eq!(events_of_kind(&host, message::JOB_INTERRUPTED).len(), 1);
    host.wait_for("the request that was interrupted", || {
        jobs(&host).iter().all(|job| job["status"] == "succeeded")
    });
    let jobs = jobs(&host);
    assert_eq!(jobs.len(), 2);
    assert_eq!(changes(&jobs[0]), ["demo 1.0 -> 1.1"]);
    assert_eq!(changes(&jobs[1]), ["other 1.0 -> 1.1"]);
    assert_eq!(upgrades_of_demo(&host), 1);
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "QueueLength"), "0");
}

// fault: worker killed
releases!(a_worker_killed_during_its_refresh_does_not_delay_the_next [bookworm trixie]);
/// Without a limit of its own, an `apt-get update` would hold apt's lock as long as the mirror drips.
fn a_worker_killed_during_its_refresh_does_not_delay_the_next(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.fault("InRelease", Fault::Drip);
    let running = host.spawn(&format!("systemctl start {UNIT}"));
    host.wait_for("the refresh", || !repo.requests().is_empty());
    let pids = host.sh("pgrep --delimiter , 'apt-get|http'");
    // the next connections are served again: the next worker may already be waiting
    repo.heal();

    kill(&host, "KILL");

    assert!(!running.wait().success());
    host.wait_for("its apt-get, and what that started, to end with it", || {
        let left = host.try_sh(&format!("ps --no-headers -p {}", pids.trim()));
        left.stdout.is_empty()
    });
    assert!(start(&host, "demo").success());
    assert_eq!(
        host.try_sh("pgrep --exact http").stdout,
        "",
        "a method is left"
    );
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(upgrades_of_demo(&host), 1);
    host.wait_for("both requests", || {
        jobs(&host)
            .iter()
            .filter(|job| job["status"] == "succeeded")
            .count()
            == 2
    });
}

// fault: worker killed
#[test]
fn a_job_that_kills_every_worker_ends_as_failed() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    // it takes five minutes from one to the next otherwise
    host.write(
        "/etc/systemd/system/patch-recover.service.d/soon.conf",
        "[Service]\nRestartSec=100ms\n",
    );
    let deadly = "/etc/apt/apt.conf.d/99deadly";
    host.write(
        deadly,
        "APT::Update::Pre-Invoke { \"echo died >>/run/deaths; pkill -KILL -f 'patchctl run (apply|drain)'\"; };\n",
    );
    host.sh("systemctl daemon-reload");

    assert!(!start(&host, "demo").success());

    host.wait_for("the end of the job", || {
        let jobs = jobs(&host);
        !jobs.is_empty() && jobs.iter().all(|job| job["status"] == "failed")
    });
    let job = last_job(&host);
    assert_eq!(jobs(&host).len(), 1);
    // the blow that ends one may meet the next one, too, before that has begun anything
    assert!(job["deaths"].as_u64().unwrap() >= 5, "{job:#}");
    assert!(
        text(&job, "error").contains("is not tried again"),
        "{job:#}"
    );
    host.wait_for("the end to be told", || {
        events_of_kind(&host, message::JOB_FAILED).len() == 1
    });
    let begun = host.read("/run/deaths").lines().count();
    assert!((2..=5).contains(&begun), "begun {begun} times");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(state(&host, "state/update.json")["phase"], "failed");

    host.sh(&format!("rm {deadly}"));
    assert_eq!(property(&host, "Health"), "degraded");
    assert_eq!(changes(&applied(&host, "demo")), ["demo 1.0 -> 1.1"]);
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn a_worker_that_waits_for_another_one_can_be_stopped_and_loses_nothing() {
    let (host, repo, running) = configuring(Release::Trixie);
    repo.add(&plain("other", "1.1"));
    let waiting = host.spawn("systemctl start patch-apply@other.service");
    host.wait_for("the second worker to wait", || {
        unit(&host, "patch-apply@other.service", "StatusText").contains("waits for another worker")
    });

    host.sh("systemctl kill --kill-whom=main --signal=TERM patch-apply@other.service");

    assert!(!waiting.wait().success());
    host.write("/run/lab-release", "");
    assert!(running.wait().success());
    host.wait_for("the request that stayed in the queue", || {
        installed(&host, "other") == "1.1 installed"
    });
    assert!(start(&host, "other").success());
}
