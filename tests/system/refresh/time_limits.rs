//! The refresh and time: sources that never end an answer, locks that another process holds.

use std::time::Duration;

use lab::{Fault, Host, Release, Repo, fixtures};
use linux_patch_api::journal::id;

use crate::story::{events, last_cache_update, property, refresh_succeeds, state, unit};

/// More than the 120 seconds, and the machine may be busy.
const LIMIT: Duration = Duration::from_secs(400);

/// A host that was refreshed once.
fn host(release: Release) -> (Host, Repo) {
    let host = Host::boot(release);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(&host);
    refresh_succeeds(&host);
    repo.add(&fixtures::plain("demo", "1.1"));
    (host, repo)
}

// fault: network cut, reset, drip, 404, 500
/// Three hosts at once, so that the two minutes are waited for only once.
#[test]
fn a_refresh_ends_after_its_120_seconds_with_all_its_processes() {
    let (hanging, first) = host(Release::Trixie);
    first.fault("", Fault::Hang);
    let (dripping, second) = host(Release::Bookworm);
    second.fault("", Fault::Drip);
    // nothing but its own limit ends this one: a child that does not hear TERM
    let (stubborn, _third) = host(Release::Trixie);
    stubborn.write(
        "/etc/apt/apt.conf.d/99stubborn",
        "APT::Update::Pre-Invoke { \"trap '' TERM; touch /run/stubborn; sleep infinity\"; };\n",
    );
    let hosts = [&hanging, &dripping, &stubborn];
    let before = hosts.map(last_cache_update);

    hanging.sh("systemctl start --no-block patch-refresh.service");
    // without a unit around it, systemd does not end its processes
    let direct = dripping.spawn("patchctl refresh --direct");
    let bare = stubborn.spawn("patchctl refresh --direct");
    for host in hosts {
        host.wait_for("apt to run", || !processes_of_apt(host).is_empty());
    }
    stubborn.wait_for("the child", || stubborn.exists("/run/stubborn"));
    hanging.wait_at_most(LIMIT, "the end of the hanging refresh", || {
        unit(&hanging, "patch-refresh.service", "ActiveState") == "failed"
    });
    for output in [direct.wait(), bare.wait()] {
        assert_eq!(output.status, 1, "{output}");
        assert!(
            output
                .stderr
                .contains("apt-get update was ended after 120 s"),
            "{output}"
        );
    }

    for (host, before) in hosts.into_iter().zip(before) {
        assert_eq!(processes_of_apt(host), "", "left behind");
        assert_eq!(last_cache_update(host), before);
        assert_eq!(property(host, "CacheStatus"), "failed");
        assert_eq!(property(host, "Health"), "degraded");
        assert_eq!(events(host, "MESSAGE_ID", id::REFRESH_FAILED).len(), 1);
    }
    let why = state(&hanging, "state/cache.json")["last_error"].to_string();
    assert!(why.contains(&first.url()) || why.contains("120 s"), "{why}");

    second.heal();
    refresh_succeeds(&dripping);
    assert!(dripping.sh("apt-cache policy demo").contains("1.1"));
}

/// The names of apt's own processes, and of the child above.
fn processes_of_apt(host: &Host) -> String {
    host.sh("cat /proc/[0-9]*/comm 2>/dev/null | grep -xE 'apt-get|http|https|gpgv|sqv|store|sleep' || true")
}

// fault: lock held
releases!(a_refresh_waits_for_the_lock_on_the_lists_and_says_who_holds_it [bookworm trixie]);
fn a_refresh_waits_for_the_lock_on_the_lists_and_says_who_holds_it(release: Release) {
    let (host, repo) = host(release);
    let holder = host.spawn(
        "exec python3 -c 'import fcntl, os, signal
lock = open(\"/var/lib/apt/lists/lock\", \"w\")
fcntl.lockf(lock, fcntl.LOCK_EX)
print(os.getpid(), flush=True)
signal.pause()'",
    );
    host.wait_for("the lock", || holder.output_so_far().ends_with('\n'));
    let words = format!("held by process {}", holder.output_so_far().trim());

    host.sh("systemctl start --no-block patch-refresh.service");
    let name = "patch-refresh.service";
    host.wait_for("the refresh to wait", || {
        unit(&host, name, "StatusText").contains(&words)
    });
    assert_eq!(unit(&host, name, "ActiveState"), "activating");
    host.wait_for("the event", || {
        !events(&host, "MESSAGE_ID", id::WAITING).is_empty()
    });
    repo.fault("", Fault::Hang);
    holder.kill();
    host.wait_for("the end of the waiting", || {
        unit(&host, name, "StatusText") == "refreshing the package index"
    });
    repo.heal();
    host.wait_for("the end of the refresh", || {
        unit(&host, name, "ActiveState") == "inactive"
    });

    assert_eq!(unit(&host, name, "Result"), "success");
    assert!(host.sh("apt-cache policy demo").contains("1.1"));
    let waiting = events(&host, "MESSAGE_ID", id::WAITING);
    assert_eq!(waiting.len(), 1, "one event for one holder");
    let reason = waiting[0]["PATCH_REASON"].as_str().expect("no reason");
    assert!(reason.contains(&words), "{reason}");
    assert_eq!(property(&host, "Health"), "healthy");
}
