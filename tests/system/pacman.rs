//! What is particular about pacman: all or nothing, two databases, a lock that stays.

use lab::fixtures::{plain, with_conffile};
use lab::{Deb, Host, Manager, Repo, RepoBuilder};
use linux_patch_api::journal::id as message;

use crate::job::{applied, changes, events_of_kind, failed, kept_back, list, text};
use crate::story::{property, refresh_fails, refresh_succeeds};

/// A host that pacman patches, with these packages and a repository, empty yet.
fn host_with(packages: &[Deb]) -> (Host, Repo) {
    host_with_repo(packages, Repo::builder("lab"))
}

fn host_with_repo(packages: &[Deb], repo: RepoBuilder) -> (Host, Repo) {
    let host = Host::patched_by(Manager::Pacman).boot();
    host.write("/etc/linux_patch_api/config.toml", "backend = \"pacman\"\n");
    host.put_on(packages);
    let repo = repo.build(&host);
    repo.enable(&host);
    (host, repo)
}

/// The version of an installed package.
fn installed(host: &Host, package: &str) -> String {
    let shown = host.sh(&format!("pacman -Q {package}"));
    shown
        .trim()
        .split_once(' ')
        .expect("no version")
        .1
        .to_owned()
}

#[test]
fn all_is_upgraded_and_a_part_of_it_is_refused() {
    let (host, repo) = host_with(&[plain("demo", "1.0"), with_conffile("tool", "1.0")]);
    host.append("/etc/tool.conf", "changed = yes\n");
    repo.add(&plain("demo", "1.1").depends("libnew"));
    repo.add(&plain("libnew", "1.0"));
    repo.add(&with_conffile("tool", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "3");

    let job = failed(&host, "demo");
    let error = text(&job, "error");
    assert!(
        error.contains("partial upgrades are unsupported"),
        "{error}"
    );
    assert_eq!(installed(&host, "demo"), "1.0-1");
    let job = failed(&host, "security");
    let error = text(&job, "error");
    assert!(error.contains("which updates are for security"), "{error}");
    // the live database has not moved
    assert_eq!(host.try_sh("pacman -Qu").stdout, "");

    let job = applied(&host, "all");

    let expected = [
        "demo 1.0-1 -> 1.1-1",
        "libnew none -> 1.0-1",
        "tool 1.0-1 -> 1.1-1",
    ];
    assert_eq!(changes(&job), expected);
    assert_eq!(installed(&host, "demo"), "1.1-1");
    let notes: Vec<&str> = list(&job, "notes")
        .iter()
        .filter_map(|note| note.as_str())
        .collect();
    assert!(
        notes
            .iter()
            .any(|note| note.contains("/etc/tool.conf.pacnew")),
        "{job:#}"
    );
    assert_eq!(events_of_kind(&host, message::ACTIVATION).len(), 1);
    assert_eq!(property(&host, "PendingUpdates"), "0");
    assert_eq!(property(&host, "Health"), "healthy");

    // the only one that is pending is everything
    repo.add(&plain("demo", "1.2").depends("libnew"));
    let job = applied(&host, "demo");
    assert_eq!(changes(&job), ["demo 1.1-1 -> 1.2-1"]);

    // what pacman.conf keeps is kept
    host.sh("sed -i '/^HoldPkg/a IgnorePkg = de*' /etc/pacman.conf");
    repo.add(&plain("demo", "1.3").depends("libnew"));
    let job = applied(&host, "all");
    assert!(changes(&job).is_empty());
    let kept = kept_back(&job);
    assert!(kept[0].starts_with("demo: [ignored]"), "{kept:?}");
}

#[test]
fn the_page_of_a_captive_portal_is_no_database_and_does_not_stay() {
    // as those of Arch Linux, its database has no signature
    let repo = Repo::builder("lab").unsigned();
    let (host, repo) = host_with_repo(&[plain("demo", "1.0")], repo);
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);

    repo.fault("lab.db", lab::Fault::Html);
    let why = refresh_fails(&host);
    assert!(why.contains("lab.db: Unrecognized archive format"), "{why}");
    let job = failed(&host, "all");
    assert!(text(&job, "error").contains("refresh failed"), "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.0-1");

    // its date was newer than that of the true database, which comes back all the same
    repo.heal();
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["demo 1.0-1 -> 1.1-1"]);
    assert_eq!(property(&host, "Health"), "healthy");
}
