//! Records that cannot be used: damaged files, an index that is too old, a disk that is full or read-only.

use lab::{Host, Release, Repo, fixtures};
use linux_patch_api::journal::id;
use serde_json::json;

use crate::job::id_of;
use crate::refresh::outcome::starts_of;
use crate::story::{
    STATE, events, installed, jobs, last_cache_update, last_job, property, refresh,
    refresh_succeeds, settled, state, stop_service, unit,
};

const CACHE: &str = "/var/lib/linux_patch_api/state/cache.json";

/// A host that was refreshed once and has the package `demo` installed, with an update pending.
fn host(release: Release) -> (Host, Repo) {
    let host = Host::boot(release);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(&host);
    refresh_succeeds(&host);
    host.sh("apt-get install -q -y demo");
    repo.add(&fixtures::plain("demo", "1.1"));
    refresh_succeeds(&host);
    (host, repo)
}

// fault: torn, empty, foreign state
#[test]
fn an_unusable_record_reads_as_never_refreshed_and_is_rewritten() {
    let (host, _repo) = host(Release::Trixie);
    let good = host.read(CACHE);
    let contents: &[&[u8]] = &[
        b"",
        &good.as_bytes()[..good.len() / 2],
        b"\xff\xfe\x00\x01",
        b"[]",
        b"{\"last_cache_update\": 5, \"last_update_success\": true}",
        b"{\"last_cache_update\": \"yesterday\", \"last_update_success\": true}",
        b"{\"last_cache_update\": \"2026-01-02T03:04:05Z\", \"last_update_success\": \"yes\"}",
    ];
    for content in contents {
        let told = events(&host, "PATCH_FILE", CACHE).len();
        host.write(CACHE, content);
        never_refreshed_then_fresh(&host);
        let events = events(&host, "PATCH_FILE", CACHE);
        assert!(events.len() > told, "it is said: {content:?}");
        assert_eq!(events[told]["MESSAGE_ID"], id::STATE_UNUSABLE);
    }
    host.sh(&format!("rm {CACHE}"));
    never_refreshed_then_fresh(&host);
}

/// Reading the state rewrites it.
fn never_refreshed_then_fresh(host: &Host) {
    assert_eq!(property(host, "CacheStatus"), "unknown");
    assert_eq!(property(host, "Health"), "healthy", "never is no failure");
    host.wait_for("a fresh index", || property(host, "CacheStatus") == "fresh");
    assert_eq!(host.sh(&format!("stat -c %a {CACHE}")), "644\n");
}

// fault: clock set back or forward
#[test]
fn a_record_from_the_future_proves_nothing() {
    let (host, _repo) = host(Release::Trixie);
    let future = json!({"last_cache_update": "2999-01-01T00:00:00Z", "last_update_success": true});
    host.write(CACHE, future.to_string());
    assert_eq!(property(&host, "CacheStatus"), "stale");
    host.wait_for("a fresh index", || {
        property(&host, "CacheStatus") == "fresh"
    });
    assert!(last_cache_update(&host).as_str().expect("no date") < "2999");
}

// fault: a directory in the place of a record
// fault: read-only, immutable
#[test]
fn a_directory_in_place_of_a_record_is_moved_and_an_immutable_one_named() {
    let (host, _repo) = host(Release::Trixie);
    host.sh(&format!("rm {CACHE} && mkdir -p {CACHE}/full"));
    refresh_succeeds(&host);
    host.sh(&immutable(0x10));

    let output = refresh(&host);

    assert!(!output.success(), "{output}");
    let log = host
        .messages(&["-u", "patch-refresh.service", "-n", "20"])
        .join("\n");
    assert!(log.contains(&format!("failed to write '{CACHE}'")), "{log}");
    let left = host.sh(&format!("ls -A {STATE}/state | grep '^\\.' || true"));
    assert_eq!(left, "");
    assert_eq!(host.sh(&format!("ls -d {CACHE}*.bad/full | wc -l")), "1\n");
    host.sh(&immutable(0));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Health"), "healthy");
}

/// `chattr +i`, or `-i`: `FS_IOC_SETFLAGS`, since the program is not on every host.
fn immutable(flags: u32) -> String {
    format!(
        "python3 -c 'import array, fcntl
fcntl.ioctl(open(\"{CACHE}\"), 0x40086602, array.array(\"l\", [{flags}]))'"
    )
}

// fault: torn, empty, foreign state
#[test]
fn unusable_records_of_jobs_and_updates_stop_no_worker() {
    let (host, _repo) = host(Release::Trixie);
    let contents: &[&[u8]] = &[b"", b"{\"phase\":", b"\xff\x00", b"5"];
    for content in contents {
        for name in ["update.json", "updates.json", "running.json"] {
            host.write(&format!("{STATE}/state/{name}"), content);
        }
        host.write(
            &format!("{STATE}/jobs/0123456789abcdef-abcdef.json"),
            content,
        );
        assert_eq!(property(&host, "Phase"), "idle", "{content:?}");
        refresh_succeeds(&host);
        host.sh("patchctl jobs && patchctl updates && patchctl status");
    }
    // a worker that died with a job whose record is unreadable
    host.write(
        &format!("{STATE}/state/running.json"),
        "[\"0123456789abcdef-abcdef\"]",
    );
    host.sh("systemctl start patch-apply@demo.service");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert!(!host.exists(&format!("{STATE}/state/running.json")));
    assert!(!events(&host, "MESSAGE_ID", id::STATE_UNUSABLE).is_empty());
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn reading_a_stale_index_refreshes_it_once() {
    let (host, repo) = host(Release::Trixie);
    make_stale(&host);
    assert_eq!(property(&host, "CacheStatus"), "stale");
    assert_eq!(
        property(&host, "Health"),
        "healthy",
        "stale is not degraded"
    );
    look_fifty_times(&host);
    host.wait_for("a fresh index", || {
        property(&host, "CacheStatus") == "fresh"
    });
    assert_eq!(jobs(&host).len(), 1, "{:?}", jobs(&host));
    let job = settled(&host, id_of(&last_job(&host)));
    assert_eq!(job["status"], "succeeded", "{job}");
    assert_eq!(job["request"]["requester"]["door"], "dbus");

    // a dead mirror is not asked again at every look
    repo.stop();
    make_stale(&host);
    assert_eq!(property(&host, "CacheStatus"), "stale");
    host.wait_for("the failure", || property(&host, "CacheStatus") == "failed");
    look_fifty_times(&host);
    assert_eq!(jobs(&host).len(), 2);
    assert_eq!(property(&host, "QueueLength"), "0");
}

/// As another program would write it, without our own keys.
fn make_stale(host: &Host) {
    let date = host.sh("date -u -d '5 hours ago' +%Y-%m-%dT%H:%M:%SZ");
    let cache = json!({"last_cache_update": date.trim(), "last_update_success": true});
    host.write(CACHE, cache.to_string());
}

fn look_fifty_times(host: &Host) {
    let agent = "org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1";
    host.sh(&format!(
        "for i in $(seq 50); do busctl get-property {agent} Health; done"
    ));
}

// fault: disk full
// fault: read-only, immutable
#[test]
fn a_full_or_read_only_disk_is_named_and_loses_nothing() {
    let (host, _repo) = host(Release::Trixie);
    stop_service(&host);
    host.sh(&format!(
        "systemctl stop patch-apply.path
        cp -a {STATE} /root/state
        mount -t tmpfs -o size=16m,mode=0755 tmpfs {STATE}
        cp -a /root/state/. {STATE}/"
    ));
    // a request that comes while no worker runs
    let agent = "org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1";
    host.sh(&format!("busctl call {agent} Refresh"));
    let fill = format!("! cat /dev/zero >{STATE}/filler 2>/dev/null");
    spoiled(&host, &fill, "No space left on device");
    host.sh(&format!("rm {STATE}/filler"));
    serves_again(&host, 1);

    host.sh(&format!(
        "systemctl stop patch-apply.path; busctl call {agent} Refresh"
    ));
    spoiled(
        &host,
        &format!("mount -o remount,ro {STATE}"),
        "Read-only file system",
    );
    host.sh(&format!("mount -o remount,rw {STATE}"));
    serves_again(&host, 2);
    host.sh("systemctl start patch-apply@demo.service");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// Everything fails with the file and the reason, nothing is changed, nothing runs wild.
fn spoiled(host: &Host, spoil: &str, reason: &str) {
    let before = host.read(CACHE);
    let queue = host.sh(&format!("ls {STATE}/queue"));
    assert_eq!(queue.lines().count(), 1, "{queue}");
    host.sh(spoil);
    let starts = starts_of(host, "patch-apply.service");
    host.sh("systemctl start patch-apply.path");
    host.wait_for("the drain to fail", || {
        unit(host, "patch-apply.service", "StatusText").contains(reason)
    });
    for name in ["patch-refresh.service", "patch-apply@demo.service"] {
        assert!(
            !host.try_sh(&format!("systemctl start {name}")).success(),
            "{name}"
        );
        assert_eq!(unit(host, name, "Result"), "exit-code");
        let log = host.messages(&["-u", name, "-n", "20"]).join("\n");
        assert!(log.contains(reason) && log.contains(STATE), "{name}: {log}");
    }
    assert_ne!(host.try_sh("patchctl refresh").status, 0);
    assert_eq!(host.read(CACHE), before);
    assert_eq!(host.sh(&format!("ls {STATE}/queue")), queue);
    assert_eq!(
        host.sh(&format!(
            "find {STATE} -type f \\( -name '.*' -o -path '*/tmp/*' \\)"
        )),
        ""
    );
    assert_eq!(installed(host, "demo"), "1.0 installed");
    assert!(
        starts_of(host, "patch-apply.service") <= starts + 2,
        "a busy loop"
    );
}

/// The request that waited is served, and the next ones are.
fn serves_again(host: &Host, jobs_served: usize) {
    host.wait_for("the queue to be served", || {
        host.sh(&format!("ls {STATE}/queue")).is_empty()
            && unit(host, "patch-apply.service", "ActiveState") != "activating"
    });
    let jobs = jobs(host);
    assert_eq!(jobs.len(), jobs_served, "{jobs:?}");
    assert_eq!(last_job(host)["status"], "succeeded");
    refresh_succeeds(host);
    assert_eq!(state(host, "state/cache.json")["last_update_success"], true);
}
