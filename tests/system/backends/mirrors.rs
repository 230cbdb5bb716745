//! Repositories that are unreachable, outdated, forged, or replaced by another page.

use std::time::{Duration, SystemTime};

use lab::fixtures::plain;
use lab::{Fault, Manager, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use super::Backend;
use crate::job::{applied, changes, events_of_kind, failed, kept_back, text};
use crate::story::{property, refresh_fails, refresh_succeeds};

// fault: network cut, reset, drip, 404, 500
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

// fault: network cut, reset, drip, 404, 500
pub fn a_superseded_package_is_followed_by_refreshing_once(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let before = repo.snapshot();
    repo.add(&plain("demo", "1.2"));
    let after = repo.snapshot();
    repo.restore(&before);
    let file = backend.file("demo", "1.1");
    repo.fault(&file, Fault::Hang);
    repo.take_requests();
    let running = backend.start(&host, "demo");
    host.wait_for("the download", || {
        repo.requests().iter().any(|path| path.contains(&file))
    });
    // done in an instant: the download is given up when nothing comes for some seconds, and tried again
    repo.remove_from_pool("demo", "1.1");
    repo.restore(&after);
    repo.heal();

    let output = running.wait();

    let log = || host.sh("journalctl --no-pager -t patchctl -n 40");
    assert!(output.success(), "{output}\n{}", log());
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    let retries = events_of_kind(&host, message::RETRY);
    assert_eq!(retries.len(), 1, "{retries:#?}");
    let why = text(&retries[0], "PATCH_ERROR");
    assert!(why.contains("404") || why.contains("not found"), "{why}");
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: network cut, reset, drip, 404, 500
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
    assert_eq!(property(&host, "Health"), "degraded");
    assert_eq!(property(&host, "CacheStatus"), "fresh", "the index is good");
}

// fault: network cut, reset, drip, 404, 500
/// What comes from it is kept back when it is tolerated, whatever the last good index of it says.
pub fn a_dead_repository_fails_everything_unless_it_is_tolerated(backend: Backend) {
    let (host, good) = backend.host_with(&[plain("ours", "1.0"), plain("theirs", "1.0")]);
    let other = Repo::builder("other").hostname("packages.example.org");
    let other = other.build(&host);
    other.enable(&host);
    good.add(&plain("ours", "1.1"));
    other.add(&plain("theirs", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    other.stop();

    let why = refresh_fails(&host);
    assert!(
        why.contains("packages.example.org") && !why.contains("127.0.0.1:8080"),
        "{why}"
    );
    failed(&host, "all");
    assert_eq!(backend.installed(&host, "ours"), backend.version("1.0"));

    if backend.manager == Manager::Dnf5 {
        // said to dnf itself, as some of Fedora's repositories do
        host.append("/etc/yum.repos.d/other.repo", "skip_if_unavailable=True\n");
    } else {
        let tolerate = "[refresh]\ntolerate = [\"packages.example.org\"]\n";
        host.write("/etc/linux_patch_api/config.d/tolerate.toml", tolerate);
    }
    let job = applied(&host, "all");
    assert_eq!(changes(&job).len(), 1, "{job:#}");
    assert_eq!(backend.installed(&host, "ours"), backend.version("1.1"));
    assert_eq!(backend.installed(&host, "theirs"), backend.version("1.0"));
    let kept = kept_back(&job);
    assert!(
        kept.len() == 1
            && kept[0].starts_with("theirs: ")
            && kept[0].contains("a source whose last refresh failed"),
        "{kept:?}"
    );
    let reasons = property(&host, "HealthReasons");
    assert!(reasons.contains("tolerated"), "{reasons}");

    other.start();
    applied(&host, "all");
    assert_eq!(backend.installed(&host, "theirs"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: bad signature, expired, replayed
pub fn a_web_page_or_an_index_signed_by_another_key_is_refused(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    refresh_succeeds(&host);
    repo.add(&plain("demo", "1.1"));
    let good = repo.snapshot();

    // a captive portal answers every request, and says that all is well
    repo.fault("", Fault::Html);
    refresh_fails(&host);
    let job = failed(&host, "all");
    assert!(text(&job, "error").contains("refresh failed"), "{job:#}");
    repo.heal();
    for forge in [Repo::sign_by_stranger, Repo::sign_by_nobody] {
        forge(&repo);
        refresh_fails(&host);
    }
    failed(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));

    repo.restore(&good);
    let job = applied(&host, "all");
    assert_eq!(changes(&job).len(), 1, "{job:#}");
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: bad signature, expired, replayed
/// Well signed, and older than what was seen before: a mirror that went back, or an attacker who hides updates.
pub fn an_older_index_served_again_raises_an_alarm(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    repo.set(|options| options.date = Some(yesterday));
    let old = repo.snapshot();
    repo.set(|options| options.date = None);
    repo.add(&plain("demo", "1.1"));
    let good = repo.snapshot();
    refresh_succeeds(&host);

    repo.restore(&old);
    let why = refresh_fails(&host);
    assert!(
        why.contains("older than") || why.contains("went back"),
        "{why}"
    );
    assert_eq!(events_of_kind(&host, message::INDEX_WENT_BACK).len(), 1);
    failed(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));

    repo.restore(&good);
    applied(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: bad signature, expired, replayed
/// The index is well signed, the package itself is not.
pub fn an_unsigned_package_is_refused(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.sign_by_nobody();
    repo.add_to_pool_only(&plain("demo", "1.1"));
    repo.sign_again();

    let job = failed(&host, "all");

    assert!(text(&job, "error").contains("demo"), "{job:#}");
    assert!(changes(&job).is_empty(), "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    repo.add(&plain("demo", "1.2"));
    applied(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(property(&host, "Health"), "healthy");
}

/// The two of them that take a lock for a refresh. While it waits, the caller sees for which process.
// fault: lock held
#[test]
fn with_dnf_4_and_zypper_a_refresh_says_for_whom_it_waits() {
    let dnf4 = "Waiting for process with pid";
    let zypper = "System management is locked by the application with pid";
    for (backend, lock, words) in [
        (Backend::dnf4(), "/var/cache/dnf/metadata_lock.pid", dnf4),
        (Backend::zypper(), "/run/zypp.pid", zypper),
    ] {
        let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
        let holder = host.spawn(&format!("echo $$ >{lock}; exec sleep infinity"));
        host.wait_for("the lock", || host.exists(lock));
        let refresh = host.spawn("patchctl refresh");
        host.wait_for("the one who waits to be told", || {
            let shown = refresh.output_so_far();
            shown.contains(&format!("waiting: {words}"))
        });
        let action = || {
            let picture = host.sh("patchctl status --cached --json");
            let picture: Value = serde_json::from_str(&picture).expect("no picture");
            text(&picture, "action").to_owned()
        };
        assert!(action().contains(words), "{}", action());

        repo.fault("primary", Fault::Hang);
        holder.kill();
        host.sh(&format!("rm -f {lock}"));

        host.wait_for("the end of the waiting", || {
            action() == "refreshing the package index"
        });
        repo.heal();
        let refresh = refresh.wait();
        assert!(refresh.success(), "{refresh}");
        let told = events_of_kind(&host, message::WAITING).len();
        assert_eq!(told, 1, "said once, not at every try");
    }
}
