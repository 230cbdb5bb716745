//! A host whose systemd does not run, such as a rescue system's chroot: `--direct` does the same work.

use lab::fixtures::{failing_postinst, plain};
use lab::{Host, Release};

use crate::job::{applied, changes, host_with, text};
use crate::story::{events, installed, last_job, property, state};

/// Runs a script below a root where nothing of systemd can be seen: no bus, no journal, no `/run`.
fn without_systemd(host: &Host, script: &str) -> lab::Output {
    host.write("/root/script", script);
    // the host's own systemd runs all the same, and would serve the queue beside us under a lock of its own
    host.sh("systemctl stop patch-apply.path");
    host.try_sh(
        "unshare --mount sh -c 'mount -t tmpfs tmpfs /run && mkdir -p /run/lock && \
         exec setsid sh /root/script'",
    )
}

#[test]
fn without_a_running_systemd_an_apply_logs_to_the_terminal() {
    for release in [Release::Trixie, Release::Bookworm] {
        a_direct_apply_works(release);
    }
}

fn a_direct_apply_works(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&plain("demo", "1.1").postinst("echo 'words of the script'"));
    repo.add(&plain("other", "1.1"));

    let output = without_systemd(&host, "patchctl apply --direct demo");

    assert!(output.success(), "{output}");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(installed(&host, "other"), "1.0 installed");
    for words in [
        "refreshed",
        "demo:all 1.0 -> 1.1",
        "succeeded",
        "words of the script",
    ] {
        assert!(
            output.stderr.contains(words),
            "'{words}' is not on the terminal: {output}"
        );
    }
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded");
    assert_eq!(job["request"]["requester"]["door"], "direct");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);

    // a reader that has seen enough ends nothing
    repo.add(&plain("demo", "1.2"));
    let output = without_systemd(&host, "patchctl apply --direct demo 2>&1 | head -n 1");
    assert!(output.success(), "{output}");
    assert_eq!(installed(&host, "demo"), "1.2 installed");
    assert_eq!(last_job(&host)["status"], "succeeded");

    // whatever was done directly, the service knows of it
    assert_eq!(property(&host, "Phase"), "success");
    host.sh("systemctl start patch-apply.path");
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn without_a_running_systemd_a_refresh_does_its_work_and_a_failure_shows() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&failing_postinst("demo", "1.1"));

    let output = without_systemd(&host, "patchctl refresh --direct");
    assert!(
        output.success() && output.stderr.contains("refreshed"),
        "{output}"
    );
    let updated = state(&host, "state/cache.json")["last_cache_update"].clone();
    assert!(updated.is_string());

    let output = without_systemd(&host, "patchctl apply --direct demo");
    assert_eq!(output.status, 1, "{output}");
    assert!(
        output.stderr.contains("demo:all is half-configured in 1.1"),
        "{output}"
    );
    assert!(text(&last_job(&host), "error").contains("demo:all is half-configured"));

    repo.stop();
    let output = without_systemd(&host, "patchctl refresh --direct");
    assert_eq!(output.status, 1, "{output}");
    assert!(
        output
            .stderr
            .contains("Unable to connect to 127.0.0.1:8080"),
        "{output}"
    );
    let cache = state(&host, "state/cache.json");
    assert_eq!(cache["last_update_success"], false);

    let output = without_systemd(&host, "patchctl apply demo");
    assert_eq!(output.status, 69, "{output}");
    assert!(
        output.stderr.contains("--direct"),
        "the way out is named: {output}"
    );
}

#[test]
fn a_direct_apply_takes_the_same_lock_and_is_for_root_alone() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    for verb in ["apply --direct demo", "refresh --direct"] {
        let output = host.as_user("somebody", &format!("patchctl {verb}"));
        assert!(!output.success(), "{output}");
        assert!(output.stderr.contains("needs root"), "{output}");
    }
    assert_eq!(repo.requests(), [""; 0]);
    for name in ["demo-", "-y", "demo=1.0"] {
        let output = host.try_sh(&format!("patchctl apply --direct -- {name}"));
        assert!(
            !output.success() && !output.stderr.is_empty(),
            "{name}: {output}"
        );
    }
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    let held = host.spawn("exec flock /run/linux_patch_api/worker.lock sleep infinity");
    host.wait_for("the lock to be taken", || {
        !host
            .try_sh("flock --nonblock /run/linux_patch_api/worker.lock true")
            .success()
    });
    let mut waiting = host.spawn("patchctl apply --direct demo");
    host.wait_for("the request to be queued", || {
        property(&host, "QueueLength") == "1"
    });
    assert!(waiting.is_running());
    held.kill();

    assert!(waiting.wait().success());
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(events(&host, "PATCH_DOOR", "direct").len(), 1);
    assert_eq!(changes(&applied(&host, "demo")), [""; 0]);
}
