//! One transaction at a time: among workers, and with package managers that other processes run.

use lab::fixtures::{plain, slow};
use lab::{Host, Release};
use linux_patch_api::journal::id as message;

use crate::job::{changes, events_of_kind, host_with, id_of, text};
use crate::story::{installed, jobs, last_job, property};

releases!(three_workers_at_once_never_run_two_transactions [bookworm trixie]);
fn three_workers_at_once_never_run_two_transactions(release: Release) {
    let names = ["one", "two", "three"];
    let (host, repo) = host_with(release, &names.map(|name| plain(name, "1.0")));
    names.iter().for_each(|name| repo.add(&slow(name, "1.1")));
    let before = transactions_of_apt(&host);
    let first = host.spawn("systemctl start patch-apply@one.service");
    host.wait_for("the first transaction", || {
        host.exists("/run/lab-slow-started")
    });
    let others = ["two", "three"]
        .map(|name| host.spawn(&format!("systemctl start patch-apply@{name}.service")));
    host.wait_for("two requests in the queue", || {
        property(&host, "QueueLength") == "2"
    });
    assert_eq!(host.sh("pgrep --count --exact apt-get").trim(), "1");
    assert_eq!(installed(&host, "two"), "1.0 installed");

    host.write("/run/lab-release", "");

    assert!(first.wait().success());
    others
        .into_iter()
        .for_each(|other| assert!(other.wait().success()));
    let jobs = jobs(&host);
    assert_eq!(jobs.len(), 3);
    let mut changed = Vec::new();
    for job in &jobs {
        assert_eq!(job["status"], "succeeded", "{job:#}");
        assert_eq!(changes(job).len(), 1, "each has its own: {job:#}");
        changed.extend(changes(job));
    }
    changed.sort();
    assert_eq!(
        changed,
        ["one 1.0 -> 1.1", "three 1.0 -> 1.1", "two 1.0 -> 1.1"]
    );
    assert_eq!(
        jobs[1]["transaction"], jobs[2]["transaction"],
        "two that wait are one"
    );
    assert_ne!(jobs[0]["transaction"], jobs[1]["transaction"]);
    assert_eq!(transactions_of_apt(&host), before + 2);
    assert_eq!(
        events_of_kind(&host, message::WAITING).len(),
        0,
        "nobody met apt's lock"
    );
}

fn transactions_of_apt(host: &Host) -> usize {
    host.read("/var/log/apt/history.log")
        .matches("Start-Date")
        .count()
}

#[test]
fn two_spellings_of_one_package_are_one_package() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let before = transactions_of_apt(&host);

    host.sh(r"systemctl start 'patch-apply@demo.service' 'patch-apply@de\x6do.service'");

    let jobs = jobs(&host);
    assert_eq!(jobs.len(), 2);
    assert!(
        jobs.iter().all(|job| job["status"] == "succeeded"),
        "{jobs:#?}"
    );
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(transactions_of_apt(&host), before + 1);
}

/// Holds a lock of apt's as apt does, until told otherwise.
const HOLDER: &str = r#"
import fcntl, os, sys, time
file = open(sys.argv[1], "r+b" if os.path.exists(sys.argv[1]) else "w+b")
fcntl.lockf(file, fcntl.LOCK_EX)
open("/run/lab-holding", "w").close()
while not os.path.exists("/run/lab-let-go"):
    time.sleep(0.05)
"#;

// fault: lock held
releases!(a_lock_of_another_process_is_waited_for_and_its_holder_named [bookworm trixie]);
fn a_lock_of_another_process_is_waited_for_and_its_holder_named(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0")]);
    host.write("/root/holder.py", HOLDER);
    let locks = [
        "/var/lib/apt/lists/lock",
        "/var/cache/apt/archives/lock",
        "/var/lib/dpkg/lock-frontend",
    ];
    for (number, lock) in (1..).zip(locks) {
        repo.add(&plain("demo", &format!("1.{number}")));
        let holder = host.spawn(&format!("exec python3 /root/holder.py {lock}"));
        host.wait_for("the lock", || host.exists("/run/lab-holding"));
        let pid = host.sh("pgrep --full '^python3 /root/holder.py'");
        let told_before = events_of_kind(&host, message::WAITING).len();

        let mut running = host.spawn("systemctl start patch-apply@demo.service");
        host.wait_for("somebody to say who holds the lock", || {
            !running.is_running() || events_of_kind(&host, message::WAITING).len() > told_before
        });
        let told = events_of_kind(&host, message::WAITING);
        assert!(
            told.len() > told_before,
            "{lock}: nobody waited for it: {}",
            last_job(&host)
        );
        let why = text(&told[told_before], "MESSAGE");
        assert!(
            why.contains(&format!("held by process {}", pid.trim())),
            "{lock}: {why}"
        );
        // the path unit's worker may have been the first to take the request
        let status = host
            .try_sh("systemctl status 'patch-apply*.service'")
            .stdout;
        assert!(status.contains("waiting"), "{status}");
        let waits = host.spawn(&format!("patchctl wait {}", id_of(&last_job(&host))));
        host.wait_for("the one who waits to be told", || {
            waits.output_so_far().contains(why)
        });
        host.sh("touch /run/lab-let-go");

        assert!(running.wait().success(), "{lock}");
        assert!(waits.wait().success(), "{lock}");
        assert!(holder.wait().success());
        assert_eq!(installed(&host, "demo"), format!("1.{number} installed"));
        assert!(jobs(&host).iter().all(|job| job["status"] == "succeeded"));
        let told = events_of_kind(&host, message::WAITING).len() - told_before;
        assert_eq!(told, 1, "{lock}: said once, not at every try");
        host.sh("rm /run/lab-let-go /run/lab-holding");
    }
    assert_eq!(property(&host, "Health"), "healthy");
}
