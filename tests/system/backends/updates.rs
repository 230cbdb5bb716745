//! What an update changes, and what it leaves.

use lab::fixtures::plain;
use lab::{Advisory, Manager, Repo};
use linux_patch_api::journal::id as message;

use super::Backend;
use crate::job::{applied, causes, changes, events_of_kind, failed, kept_back, list, start, text};
use crate::story::{property, refresh_succeeds};

pub fn an_update_is_applied_and_then_there_is_nothing_to_do(backend: Backend) {
    let packages = [plain("demo", "1.0"), plain("tool", "1:1.0")];
    let (host, repo) = backend.host_with(&packages);
    repo.add(&plain("demo", "1.1").depends("libnew"));
    repo.add(&plain("tool", "1:1.1"));
    repo.add(&plain("libnew", "1.0"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    assert_eq!(property(&host, "PendingNewPackages"), "1");

    let job = applied(&host, backend.target("demo"));

    let version = |version: &str| backend.version(version);
    let (old, new) = (version("1.0"), version("1.1"));
    let mut expected = vec![
        format!("demo {old} -> {new}"),
        format!("libnew none -> {}", version("1.0")),
    ];
    let mut pending = "1";
    if !backend.takes_parts() {
        expected.push(format!("tool {} -> {}", version("1:1.0"), version("1:1.1")));
        pending = "0";
    }
    assert_eq!(changes(&job), expected, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), new);
    assert_eq!(host.read("/usr/share/demo/version"), "1.1\n");
    let from_files = list(&job, "changes")
        .iter()
        .filter(|change| !text(change, "file").is_empty());
    let named = if backend.names_files() {
        expected.len()
    } else {
        0
    };
    assert_eq!(from_files.count(), named, "{job:#}");
    assert_eq!(property(&host, "PendingUpdates"), pending);
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(events_of_kind(&host, message::ACTIVATION).len(), 1);

    repo.add(&plain("tool", "1:1.2"));
    let job = applied(&host, "all");
    assert_eq!(changes(&job).len(), 1, "{job:#}");
    let before = if backend.takes_parts() {
        "1:1.0"
    } else {
        "1:1.1"
    };
    assert_eq!(property(&host, "FromVersion"), version(before));
    assert_eq!(property(&host, "ToVersion"), version("1:1.2"));
    assert_eq!(property(&host, "PendingUpdates"), "0");

    // neither everything nor one that is up to date is anything to do, which is no failure
    for target in ["all", "demo"] {
        let job = applied(&host, target);
        assert!(changes(&job).is_empty(), "{job:#}");
    }
    assert_eq!(events_of_kind(&host, message::ACTIVATION).len(), 2);
    assert_eq!(property(&host, "Health"), "healthy");
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

pub fn security_updates_are_applied_alone(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    repo.add(&plain("tool", "1.1"));
    let security = Repo::builder("security").security();
    let security = (backend.manager == Manager::Apt).then(|| security.build(&host));
    if let Some(security) = &security {
        security.enable(&host);
        security.add(&plain("demo", "1.2"));
    } else {
        repo.add(&plain("demo", "1.1"));
        repo.advise("demo", Advisory::Security);
        repo.advise("tool", Advisory::Bugfix);
        // what closes the hole is in every later version, too
        repo.add(&plain("demo", "1.2"));
    }
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "1");

    let job = applied(&host, "security");

    assert_eq!(changes(&job).len(), 1, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(backend.installed(&host, "tool"), backend.version("1.0"));
    assert_eq!(property(&host, "PendingUpdates"), "1");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "0");
    let job = applied(&host, "security");
    assert!(changes(&job).is_empty(), "{job:#}");
}

pub fn security_is_refused_where_repositories_do_not_mark_it(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));

    let job = failed(&host, "security");

    let error = text(&job, "error");
    assert!(error.contains("which updates are for security"), "{error}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    let refused = host.try_sh("patchctl plan security 2>&1");
    assert!(!refused.success(), "{refused}");
    assert!(refused.stdout.contains("for security"), "{refused}");
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

/// So many bytes that cannot be packed into fewer.
fn noise(count: usize) -> Vec<u8> {
    let mut state: u32 = 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

// fault: disk full
pub fn what_has_no_room_is_kept_back_and_the_rest_applied(backend: Backend) {
    let big = |version: &str, size: usize| plain("big", version).file("/boot/big", noise(size));
    let (host, repo) = backend.host_with(&[big("1.0", 5), plain("demo", "1.0")]);
    repo.add(&big("1.1", 1 << 20));
    repo.add(&plain("demo", "1.1"));
    host.sh("mkdir -p /boot");
    host.mount("-t tmpfs -o size=256k tmpfs /boot");

    let job = applied(&host, "all");

    let (old, new) = (backend.version("1.0"), backend.version("1.1"));
    assert_eq!(changes(&job), [format!("demo {old} -> {new}")], "{job:#}");
    assert_eq!(causes(&job), ["big space"], "{job:#}");
    let why = "needs 1024 KiB on /boot, 256 KiB are free";
    assert_eq!(kept_back(&job), [format!("big: {why}")], "{job:#}");
    assert_eq!(backend.installed(&host, "big"), old);
    assert_eq!(property(&host, "PendingUpdates"), "1");

    let job = failed(&host, "big");
    let error = text(&job, "error");
    assert!(error.contains(&format!("big {why}")), "{error}");

    host.sh("umount /boot");
    assert_eq!(
        changes(&applied(&host, "all")),
        [format!("big {old} -> {new}")]
    );
}
