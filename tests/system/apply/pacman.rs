//! What is particular about pacman: all or nothing, two databases, a lock that stays.

use lab::fixtures::{broken_service, failing_postinst, plain, slow, with_conffile, with_service};
use lab::{Deb, Fault, Host, Manager, Repo, RepoBuilder};
use linux_patch_api::journal::id as message;

use crate::job::{applied, changes, events_of_kind, failed, id_of, kept_back, list, text};
use crate::story::{jobs, last_job, property, refresh_fails, refresh_succeeds};

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
    assert_eq!(property(&host, "PendingUpdates"), "2");
    assert_eq!(property(&host, "PendingNewPackages"), "1");

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

// fault: network cut, reset, drip, 404, 500
#[test]
fn the_page_of_a_captive_portal_is_no_database_and_does_not_stay() {
    // as those of Arch Linux, its database has no signature
    let repo = Repo::builder("lab").unsigned();
    let (host, repo) = host_with_repo(&[plain("demo", "1.0")], repo);
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);

    repo.fault("lab.db", Fault::Html);
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

#[test]
fn a_scriptlet_that_fails_is_undone_and_the_live_databases_go_back() {
    let (host, repo) = host_with(&[]);
    repo.add(&plain("tool", "1.0"));
    host.sh("pacman -Sy --noconfirm tool");
    // pacman exits with 0, and its database knows nothing of it
    repo.add(&failing_postinst("tool", "1.1"));

    let job = failed(&host, "all");

    let error = text(&job, "error");
    assert!(
        error.contains("a scriptlet failed: tool cannot be configured"),
        "{error}"
    );
    assert_eq!(job["update"]["phase"], "rolled_back", "{job:#}");
    assert_eq!(installed(&host, "tool"), "1.0-1");
    // nothing is ahead of what is installed
    assert_eq!(host.try_sh("pacman -Qu").stdout, "");

    repo.add(&plain("tool", "1.2"));
    applied(&host, "all");
    assert_eq!(installed(&host, "tool"), "1.2-1");
}

// fault: lock held
#[test]
fn the_lock_of_another_interrupted_run_stays_and_is_named() {
    let (host, repo) = host_with(&[plain("demo", "1.0")]);
    host.write("/var/lib/pacman/db.lck", "");
    repo.add(&plain("demo", "1.1"));
    let job = failed(&host, "all");
    assert!(
        text(&job, "error").contains("left behind by a package manager"),
        "{job:#}"
    );
    assert!(host.exists("/var/lib/pacman/db.lck"));
    // the service cannot see whose lock it is, and says what the worker has seen
    host.sh("patchctl acknowledge all");
    let reasons = || property(&host, "HealthReasons");
    host.wait_for("the failure to be acknowledged", || {
        !reasons().contains("the last update")
    });
    assert!(
        reasons().contains("left behind by a package manager"),
        "{}",
        reasons()
    );
    assert_eq!(property(&host, "Health"), "degraded");
    // no worker has to look whether it is gone
    host.sh("rm /var/lib/pacman/db.lck");
    assert_eq!(reasons(), "0");
    assert_eq!(property(&host, "Health"), "healthy");
    applied(&host, "all");
    assert_eq!(installed(&host, "demo"), "1.1-1");
}

#[test]
fn the_self_package_and_what_was_undone_do_not_stop_all_for_ever() {
    // its own version is what the program says: only the release is new
    let own = |release: &str| plain("linux-patch-api", &format!("2.0.0-{release}"));
    let (host, repo) = host_with(&[own("1"), plain("other", "1.0")]);
    repo.add(&with_service("demod", "1.0"));
    host.sh("pacman -Sy --noconfirm demod");
    repo.add(&own("2"));
    repo.add(&plain("other", "1.1"));

    // it cannot be had after the others where a part cannot be had
    let job = applied(&host, "all");
    assert_eq!(
        changes(&job),
        ["linux-patch-api 2.0.0-1 -> 2.0.0-2", "other 1.0-1 -> 1.1-1"]
    );

    repo.add(&broken_service("demod", "1.1"));
    let undone = failed(&host, "all");
    assert_eq!(undone["update"]["phase"], "rolled_back", "{undone:#}");
    repo.add(&plain("other", "1.2"));
    let job = applied(&host, "all");
    assert!(changes(&job).is_empty(), "{job:#}");
    let kept = kept_back(&job);
    let why = format!("what was rolled back in job {}", id_of(&undone));
    assert!(
        kept.iter()
            .any(|kept| kept.starts_with("other: ") && kept.contains(&why)),
        "{kept:?}"
    );
    assert_eq!(installed(&host, "other"), "1.1-1");
    // a newer version sets both free
    repo.add(&with_service("demod", "1.2"));
    let job = applied(&host, "all");
    assert_eq!(
        changes(&job),
        ["demod 1.0-1 -> 1.2-1", "other 1.1-1 -> 1.2-1"]
    );
}

#[test]
fn the_live_database_moves_with_the_packages() {
    let (host, repo) = host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);

    // it stays away: tried twice, nothing moved
    repo.remove_from_pool("demo", "1.1");
    let job = failed(&host, "all");
    let error = text(&job, "error");
    assert!(
        error.contains("demo-1.1-1") && error.contains("404"),
        "{error}"
    );
    assert!(
        !host.exists("/var/lib/pacman/sync/lab.db"),
        "the live database did not move"
    );

    repo.add(&slow("demo", "1.2"));
    let running = host.spawn("systemctl start patch-apply@all.service");
    host.wait_for("its scriptlet", || host.exists("/run/lab-slow-started"));
    assert!(host.exists("/var/lib/pacman/sync/lab.db"));
    // meanwhile no other process gets the lock
    let theirs = host.try_sh("pacman -S --noconfirm demo 2>&1");
    assert!(
        theirs.stdout.contains("unable to lock database"),
        "{theirs}"
    );
    host.write("/run/lab-release", "");
    let output = running.wait();
    assert!(output.success(), "{output}\n{:#}", last_job(&host));
    assert_eq!(installed(&host, "demo"), "1.2-1");
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: worker killed
#[test]
fn a_download_is_stopped_without_a_trace_and_outlives_no_worker() {
    let (host, repo) = host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.fault("demo-1.1", Fault::Hang);
    let asked = || {
        let requests = repo.requests();
        let of_demo = requests.iter().filter(|path| path.contains("demo-1.1"));
        of_demo.count()
    };
    let start = || {
        let before = asked();
        let running = host.spawn("systemctl start patch-apply@all.service");
        host.wait_for("the download", || asked() > before);
        running
    };
    let kill = |signal: &str| {
        host.sh(&format!(
            "systemctl kill --kill-whom=main --signal={signal} patch-apply@all.service"
        ));
    };

    let running = start();
    // as with `pacman -Syu`, no other process comes in between
    assert!(host.exists("/var/lib/pacman/db.lck"));
    kill("TERM");
    running.wait();
    assert_eq!(last_job(&host)["status"], "cancelled");
    for gone in ["db.lck", "sync/lab.db"] {
        assert!(!host.exists(&format!("/var/lib/pacman/{gone}")), "{gone}");
    }
    assert_eq!(
        host.sh("ls /var/cache/pacman/pkg | grep download- || :"),
        ""
    );
    assert_eq!(property(&host, "Health"), "healthy");

    // the next worker neither waits for what the mirror still sends, nor stumbles over the lock
    let running = start();
    let before = asked();
    kill("KILL");
    assert!(!running.wait().success());
    let next = host.spawn("systemctl start patch-apply@all.service");
    host.wait_for("another download", || asked() > before);
    repo.heal();
    assert!(next.wait().success(), "{:#}", last_job(&host));
    host.wait_for("the request that was interrupted", || {
        let jobs = jobs(&host);
        jobs.iter().skip(1).all(|job| job["status"] == "succeeded")
    });
    assert_eq!(installed(&host, "demo"), "1.1-1");
    assert_eq!(property(&host, "Health"), "healthy");
}
