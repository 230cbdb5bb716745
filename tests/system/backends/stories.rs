//! The stories; each is told with one backend.

use lab::fixtures::{broken_service, failing_postinst, plain, slow, with_service};
use lab::{Advisory, Fault, Manager};
use linux_patch_api::journal::id as message;

use super::Backend;
use crate::job::{applied, changes, events_of_kind, failed, kept_back, list, start, text};
use crate::story::{last_job, property, refresh_fails, refresh_succeeds};

pub fn an_update_is_applied_and_then_there_is_nothing_to_do(backend: Backend) {
    let packages = [plain("demo", "1.0"), plain("tool", "1:1.0")];
    let (host, repo) = backend.host_with(&packages);
    repo.add(&plain("demo", "1.1").depends("libnew"));
    repo.add(&plain("tool", "1:1.1"));
    repo.add(&plain("libnew", "1.0"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "3");

    let job = applied(&host, "demo");

    let version = |version: &str| backend.version(version);
    let (old, new) = (version("1.0"), version("1.1"));
    let expected = [
        format!("demo {old} -> {new}"),
        format!("libnew none -> {}", version("1.0")),
    ];
    assert_eq!(changes(&job), expected, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), new);
    assert_eq!(host.read("/usr/share/demo/version"), "1.1\n");
    let from_files = list(&job, "changes")
        .iter()
        .filter(|change| !text(change, "file").is_empty());
    assert_eq!(from_files.count(), 2, "{job:#}");
    assert_eq!(property(&host, "PendingUpdates"), "1");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(events_of_kind(&host, message::ACTIVATION).len(), 1);

    let job = applied(&host, "all");
    assert_eq!(changes(&job).len(), 1, "{job:#}");
    assert_eq!(property(&host, "PendingUpdates"), "0");

    let job = applied(&host, "all");
    assert!(changes(&job).is_empty(), "{job:#}");
    assert_eq!(events_of_kind(&host, message::ACTIVATION).len(), 2);
}

pub fn what_was_downloaded_ahead_is_not_fetched_again(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    let stage = "/etc/linux_patch_api/config.d/stage.toml";
    host.write(stage, "[refresh]\nstage = true\n");
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Phase"), "staged");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    repo.remove_from_pool("demo", "1.1");

    let job = applied(&host, "all");

    assert_eq!(changes(&job).len(), 1, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert!(events_of_kind(&host, message::RETRY).is_empty());
}

pub fn offline_nothing_changes_and_the_host_says_so(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);
    repo.stop();

    let why = refresh_fails(&host);
    assert!(why.contains("127.0.0.1"), "{why}");
    let job = failed(&host, "demo");

    assert!(text(&job, "error").contains("refresh failed"), "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    assert_eq!(property(&host, "CacheStatus"), "failed");
    repo.start();
    applied(&host, "demo");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

pub fn a_superseded_package_is_followed_by_refreshing_once(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let file = match backend.manager {
        Manager::Apt => "demo_1.1",
        _ => "demo-1.1",
    };
    repo.fault(file, Fault::Hang);
    repo.take_requests();
    let running = host.spawn("systemctl start patch-apply@all.service");
    host.wait_for("the download", || {
        repo.requests().iter().any(|path| path.contains(file))
    });
    repo.remove_from_pool("demo", "1.1");
    repo.add(&plain("demo", "1.2"));
    repo.heal();

    let output = running.wait();

    let log = || host.sh("journalctl --no-pager -t patchctl -n 40");
    assert!(output.success(), "{output}\n{}", log());
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(events_of_kind(&host, message::RETRY).len(), 1);
    assert_eq!(property(&host, "Health"), "healthy");
}

pub fn a_package_that_stays_away_fails_the_job(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.remove_from_pool("demo", "1.1");

    for target in ["demo", "all"] {
        let job = failed(&host, target);
        let error = text(&job, "error");
        assert!(error.contains("demo") && error.contains("1.1"), "{error}");
        assert!(
            error.contains("404") || error.contains("not found"),
            "{error}"
        );
        assert_eq!(job["update"]["phase"], "failed");
    }

    assert_eq!(events_of_kind(&host, message::RETRY).len(), 2);
    assert_eq!(events_of_kind(&host, message::ACTIVATION).len(), 0);
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    assert_eq!(property(&host, "PendingUpdates"), "1", "it is still due");
}

pub fn a_failing_script_fails_the_job_and_the_next_version_heals(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    repo.add(&failing_postinst("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));

    let job = failed(&host, "all");

    assert!(text(&job, "error").contains("demo"), "{job:#}");
    assert_eq!(backend.installed(&host, "tool"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "degraded");
    repo.add(&plain("demo", "1.2"));
    applied(&host, "demo");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(property(&host, "Health"), "healthy");
}

pub fn a_service_that_no_longer_starts_goes_back(backend: Backend) {
    let (host, repo) = backend.host_with(&[with_service("demo", "1.0")]);
    repo.add(&with_service("demo", "1.0"));
    repo.add(&broken_service("demo", "1.1").depends("newdep"));
    repo.add(&plain("newdep", "1.0"));
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");

    let job = failed(&host, "demo");

    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    assert_eq!(host.read("/usr/share/demo/version"), "1.0\n");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
    assert!(!host.exists("/usr/share/newdep/version"), "{job:#}");
    assert_eq!(property(&host, "Phase"), "rolled_back");
}

pub fn a_power_cut_in_the_middle_is_healed_at_the_next_boot(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    let once = "[ -e /var/tmp/seen ] && exit 0\ntouch /var/tmp/seen /run/lab-slow-started\nsync\nsleep 600";
    repo.add(&plain("demo", "1.1").postinst(once));
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("its script", || host.exists("/run/lab-slow-started"));

    host.power_cut();
    drop(running);
    host.start();

    host.wait_for("the job to end", || {
        !matches!(
            last_job(&host)["status"].as_str(),
            Some("queued" | "running") | None
        )
    });
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(events_of_kind(&host, message::JOB_INTERRUPTED).len(), 1);
    repo.add(&plain("demo", "1.2"));
    applied(&host, "demo");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(property(&host, "Health"), "healthy");
}

pub fn somebody_else_s_transaction_is_waited_for(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&slow("other", "1.1"));
    refresh_succeeds(&host);
    let other = host.spawn(backend.by_hand);
    host.wait_for("its script", || host.exists("/run/lab-slow-started"));

    let ours = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("the word that it waits", || {
        !events_of_kind(&host, message::WAITING).is_empty()
    });
    host.write("/run/lab-release", "");

    assert!(other.wait().success());
    let output = ours.wait();
    assert!(output.success(), "{output}\n{:#}", last_job(&host));
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(backend.installed(&host, "other"), backend.version("1.1"));
}

pub fn security_updates_alone_or_a_word_that_nobody_can_tell(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    if backend.manager != Manager::Apt {
        let job = failed(&host, "security");
        assert!(
            text(&job, "error").contains("carry no advisories"),
            "{job:#}"
        );
        assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    }

    repo.advise("demo", Advisory::Security);
    repo.advise("tool", Advisory::Bugfix);
    // what closes the hole is in every later version, too
    repo.add(&plain("demo", "1.2"));
    let job = applied(&host, "security");

    assert_eq!(changes(&job).len(), 1, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(backend.installed(&host, "tool"), backend.version("1.0"));
    assert_eq!(property(&host, "PendingUpdates"), "1");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "0");
    let job = applied(&host, "security");
    assert!(changes(&job).is_empty(), "{job:#}");
}

pub fn a_locked_package_is_kept_back(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    host.sh(backend.hold);

    let job = applied(&host, "all");

    assert_eq!(changes(&job).len(), 1, "{job:#}");
    let kept = kept_back(&job);
    assert!(
        kept.iter().any(|kept| kept.starts_with("demo: ")),
        "{job:#}"
    );
    let output = start(&host, "demo");
    assert!(output.success(), "{output}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    assert_eq!(backend.installed(&host, "tool"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}
