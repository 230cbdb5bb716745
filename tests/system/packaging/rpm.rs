//! The rpm: on a host that dnf patches it brings the same as the Debian package, and leaves as little.

use lab::{Host, Manager, Repo, fixtures, product};
use linux_patch_api::journal::id;

use super::debian::{everything_is_in_place, files};
use crate::job::{applied, changes, put_on};
use crate::story::{STATE, events, hold_worker, jobs, property, unit};

/// A host of which everything but Debian's own `/etc/os-release` says that dnf patches it; so that is replaced.
/// What the rpm requires of its distribution (systemd, dbus, the C library) is in rpm's database by the lab's
/// stand-in for the Debian below, whose files dpkg has installed.
fn dnf_host() -> Host {
    let host = Host::patched_by(Manager::Dnf).bare().boot();
    host.write(
        "/etc/os-release",
        "ID=fedora\nVERSION_ID=43\nPRETTY_NAME=\"Fedora of the lab\"\n",
    );
    host
}

const OURS: &str = "linux-patch-api";

/// Where Varlink is served.
const SOCKET: &str = "/run/linux_patch_api/request.sock";

/// What is active between two events.
const ACTIVE: [&str; 4] = [
    "patch-apply.path",
    "patch-plan.path",
    "patch-refresh.timer",
    "patch-request.socket",
];

fn version_of(host: &Host, package: &str) -> String {
    host.sh(&format!(
        "rpm -q --queryformat '%{{VERSION}}-%{{RELEASE}}' {package}"
    ))
}

#[test]
fn dnf_installs_it_and_leaves_nothing_but_the_state() {
    let host = dnf_host();
    host.as_user("alice", "true");
    let before = files(&host);
    host.install(&product::rpm());
    assert_eq!(version_of(&host, OURS), "2.0.0-1");
    everything_is_in_place(&host);
    // owners and modes as well as contents
    assert_eq!(host.sh(&format!("rpm --verify {OURS}")), "");
    let alice = host.as_user("alice", "patchctl refresh");
    assert_eq!(alice.status, 77, "{alice}");
    let explained = host.sh(&format!("journalctl --dump-catalog {}", id::JOB_STARTED));
    assert!(explained.contains("Subject:"), "{explained}");
    // a client that stays connected to both services
    let service = unit(&host, "patch-agent.service", "MainPID");
    let mut connected = host.spawn(&format!(
        "exec python3 -c 'import signal, socket; s = socket.socket(socket.AF_UNIX); \
         s.connect(\"{SOCKET}\"); print(\"connected\", flush=True); s.recv(1)'"
    ));
    host.wait_for("the connection", || {
        connected.output_so_far() == "connected\n"
    });

    host.sh(&format!("dnf remove -q -y {OURS} 2>&1"));
    assert!(!host.exists("/usr/bin/patchctl"));
    assert!(
        !host.exists(&format!("/proc/{service}")),
        "the service is closed"
    );
    host.wait_for("the end of the connection", || !connected.is_running());
    assert_eq!(host.sh("systemctl list-units --no-legend 'patch-*'"), "");
    let left: Vec<String> = files(&host).difference(&before).cloned().collect();
    // the state stays, and a directory that the first package of every distribution owns
    let expected = |path: &String| path.starts_with(STATE) || path == "/usr/share/licenses";
    assert!(left.iter().all(expected), "{left:#?}");

    host.install(&product::rpm());
    everything_is_in_place(&host);
}

#[test]
fn an_upgrade_by_dnf_disturbs_no_worker_and_restarts_the_service() {
    let host = dnf_host();
    host.install(&product::rpm());
    let own = "# the administrator's own\n";
    host.write("/etc/linux_patch_api/config.toml", own);
    assert_eq!(property(&host, "Version"), "2.0.0");
    let old_service = unit(&host, "patch-agent.service", "MainPID");

    let lock = hold_worker(&host);
    host.sh("systemctl start --no-block patch-apply@all.service");
    let worker = || unit(&host, "patch-apply@all.service", "MainPID");
    host.wait_for("a worker", || worker() != "0");
    let waiting = worker();
    host.install(&product::rpm_of_version("2.0.1"));
    assert_eq!(version_of(&host, OURS), "2.0.1-1");
    assert_eq!(worker(), waiting);
    for name in ACTIVE {
        assert_eq!(unit(&host, name, "ActiveState"), "active", "{name}");
    }
    host.wait_for("the new service", || property(&host, "Version") == "2.0.1");
    assert_ne!(unit(&host, "patch-agent.service", "MainPID"), old_service);
    assert_eq!(host.read("/etc/linux_patch_api/config.toml"), own);
    lock.release(&host);
    host.wait_for("the end of the worker", || worker() == "0");
    assert_eq!(jobs(&host).len(), 1, "the request was served");
    assert_eq!(
        unit(&host, "patch-apply@all.service", "ExecMainCode"),
        "1",
        "it ended by itself"
    );
}

#[test]
fn the_main_job_runs_where_dnf_installed_it() {
    let host = dnf_host();
    put_on(&host, &[fixtures::with_service("demo", "1.0")]);
    let repo = Repo::new(&host);
    repo.enable(&host);
    host.install(&product::rpm());
    repo.add(&fixtures::with_service("demo", "1.1"));
    host.sh("systemctl start patch-refresh.service");
    assert_eq!(property(&host, "Backend"), "dnf");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "PendingUpdates"), "1");

    let job = applied(&host, "demo");
    assert_eq!(changes(&job), ["demo 1.0-1 -> 1.1-1"]);
    assert_eq!(version_of(&host, "demo"), "1.1-1");
    assert_eq!(unit(&host, "demo.service", "ActiveState"), "active");
    assert_eq!(property(&host, "Phase"), "success");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "PendingUpdates"), "0");
    let told = events(&host, "PATCH_PACKAGE", "demo");
    assert!(
        told.iter().any(|event| event["PATCH_TO"] == "1.1-1"),
        "{told:#?}"
    );
}

#[test]
fn it_updates_itself_from_one_rpm_to_the_next() {
    let host = dnf_host();
    put_on(&host, &[fixtures::plain("demo", "1.0")]);
    let repo = Repo::new(&host);
    repo.enable(&host);
    host.install(&product::rpm());
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.add_file(&product::rpm_of_version("2.0.1"));
    let job = applied(&host, "all");
    assert_eq!(
        changes(&job),
        ["demo 1.0-1 -> 1.1-1", "linux-patch-api 2.0.0-1 -> 2.0.1-1"]
    );
    assert_eq!(version_of(&host, OURS), "2.0.1-1");
    assert_eq!(version_of(&host, "demo"), "1.1-1");
    assert_eq!(property(&host, "Version"), "2.0.1");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(host.sh("systemctl --failed --no-legend"), "");
}
