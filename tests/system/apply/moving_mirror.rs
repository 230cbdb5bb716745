//! The mirror moves on, lies, or damages what it sends: a new refresh and one more attempt, then the truth.

use lab::fixtures::plain;
use lab::{Fault, Host, Release, Repo, Tamper};
use linux_patch_api::journal::id as message;

use crate::job::{applied, changes, events_of_kind, failed, host_with, id_of, start, text};
use crate::story::{events, installed, property};

/// How often the index was fetched since the last look.
fn refreshes(repo: &Repo) -> usize {
    let requests = repo.take_requests();
    requests
        .iter()
        .filter(|path| path.ends_with("/InRelease"))
        .count()
}

fn status_of_dpkg(host: &Host) -> String {
    host.sh("md5sum /var/lib/dpkg/status; find /usr/share/demo -type f -exec md5sum {} +")
}

// fault: network cut, reset, drip, 404, 500
releases!(the_day_of_the_stale_index_is_survived [bookworm trixie]);
/// The host's index names a version that the mirror has already dropped for a newer one. A plain
/// upgrade dies of it, which is what killed nine jobs of ten once.
fn the_day_of_the_stale_index_is_survived(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    host.sh("systemctl start patch-refresh.service");
    repo.remove_from_pool("demo", "1.1");
    repo.add(&plain("demo", "1.2"));
    let raw = host.try_sh("LC_ALL=C apt-get -y -o Acquire::Retries=0 upgrade 2>&1");
    assert!(raw.stdout.contains("404  Not Found"), "{raw}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    let job = applied(&host, "all");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.2"]);
    assert_eq!(installed(&host, "demo"), "1.2 installed");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(
        events_of_kind(&host, message::RETRY).len(),
        0,
        "the refresh before was enough"
    );
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn a_mirror_that_moves_on_during_the_job_is_followed() {
    for (target, version) in [("demo", "1.2"), ("all", "1.2")] {
        let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
        repo.add(&plain("demo", "1.1"));
        repo.fault("demo_1.1", Fault::Hang);
        repo.take_requests();
        let running = host.spawn(&format!("systemctl start patch-apply@{target}.service"));
        host.wait_for("the download", || {
            repo.requests().iter().any(|path| path.contains("demo_1.1"))
        });
        repo.remove_from_pool("demo", "1.1");
        repo.add(&plain("demo", version));
        repo.heal();

        assert!(running.wait().success());

        assert_eq!(installed(&host, "demo"), format!("{version} installed"));
        assert_eq!(refreshes(&repo), 2);
        let retries = events_of_kind(&host, message::RETRY);
        assert_eq!(retries.len(), 1, "{retries:#?}");
        let why = text(&retries[0], "PATCH_ERROR");
        assert!(why.contains("404  Not Found"), "{why}");
        assert_eq!(property(&host, "Health"), "healthy");
    }
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn a_file_that_stays_away_fails_the_job_in_the_mirror_s_words() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.remove_from_pool("demo", "1.1");
    for target in ["demo", "all"] {
        let before = status_of_dpkg(&host);
        repo.take_requests();

        let job = failed(&host, target);

        assert!(text(&job, "error").contains("404  Not Found"), "{job:#}");
        assert!(text(&job, "error").contains("demo_1.1"), "{job:#}");
        assert_eq!(
            refreshes(&repo),
            2,
            "one before, one before the second attempt"
        );
        let of_job = events(&host, "PATCH_JOB", id_of(&job));
        let of_kind = |kind: &str| of_job.iter().filter(|e| e["MESSAGE_ID"] == kind).count();
        assert_eq!(of_kind(message::RETRY), 1);
        assert_eq!(of_kind(message::JOB_FAILED), 1);
        assert_eq!(of_kind(message::ACTIVATION), 0);
        assert_eq!(status_of_dpkg(&host), before, "nothing was changed");
        assert_eq!(job["update"]["phase"], "failed");
    }
    assert_eq!(property(&host, "Health"), "degraded");
    assert_eq!(
        property(&host, "CacheStatus"),
        "fresh",
        "the index itself is good"
    );
    assert!(property(&host, "LastError").contains("404  Not Found"));
    assert_eq!(property(&host, "PendingUpdates"), "1", "it is still due");
}

// fault: wrong or damaged file
#[test]
fn a_package_that_is_not_what_the_index_says_is_never_installed() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.tamper(Tamper::Deb("demo", "1.1"));
    let before = status_of_dpkg(&host);
    repo.take_requests();

    let job = failed(&host, "all");

    assert!(text(&job, "error").contains("Hash Sum mismatch"), "{job:#}");
    assert_eq!(refreshes(&repo), 2);
    assert_eq!(events_of_kind(&host, message::RETRY).len(), 1);
    assert_eq!(status_of_dpkg(&host), before);
    assert_eq!(property(&host, "Health"), "degraded");

    // the mirror is repaired: the next job heals the verdict
    repo.add(&plain("demo", "1.1"));
    applied(&host, "all");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: wrong or damaged file
#[test]
fn a_damaged_file_in_apt_s_cache_is_found_in_time_and_fetched_again() {
    for release in [Release::Trixie, Release::Bookworm] {
        a_damaged_file_is_found(release);
    }
}

fn a_damaged_file_is_found(release: Release) {
    let packages = [plain("demo", "1.0"), plain("tool", "1.0").arch("native")];
    let (host, repo) = host_with(release, &packages);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1:1.1").arch("native"));
    host.sh("apt-get -q update && apt-get -q -y --download-only upgrade");
    let flip = r#"
import sys
for name in sys.argv[1:]:
    with open(name, "r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        byte = file.read(1)[0]
        file.seek(size // 2)
        file.write(bytes([byte ^ 1]))
"#;
    host.write("/root/flip.py", flip);
    host.sh("python3 /root/flip.py /var/cache/apt/archives/demo_*.deb /var/cache/apt/archives/tool_*.deb");
    repo.take_requests();

    let job = applied(&host, "all");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1", "tool 1.0 -> 1:1.1"]);
    let requests = repo.take_requests();
    for file in ["demo_1.1", "tool_1"] {
        let fetched = requests.iter().filter(|path| path.contains(file)).count();
        assert_eq!(fetched, 1, "{file} of {requests:?}");
    }
    let retries = events_of_kind(&host, message::RETRY);
    assert_eq!(retries.len(), 1);
    let why = text(&retries[0], "PATCH_ERROR");
    assert!(
        why.contains("damaged") && why.contains("demo_1.1") && why.contains("tool_1"),
        "{why}"
    );
    let dpkg = host.read("/var/log/dpkg.log");
    assert_eq!(dpkg.matches(" upgrade demo:").count(), 1, "{dpkg}");
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn a_mirror_that_is_away_fails_the_job_before_anything_changes() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    host.sh("systemctl start patch-refresh.service");
    let updated = property(&host, "LastCacheUpdate");
    let before = status_of_dpkg(&host);
    repo.stop();

    assert!(!start(&host, "demo").success());

    assert_eq!(status_of_dpkg(&host), before);
    assert_eq!(property(&host, "Health"), "degraded");
    assert_eq!(property(&host, "CacheStatus"), "failed");
    assert_eq!(property(&host, "LastCacheUpdate"), updated);
    let why = property(&host, "LastError");
    assert!(why.contains("Unable to connect to 127.0.0.1:8080"), "{why}");
}
