//! Downloading ahead: the refresh fetches, the update only installs.

use lab::fixtures::plain;
use lab::{Fault, Host, Release, Repo};
use linux_patch_api::journal::id as message;

use crate::job::{applied, changes, events_of_kind, host_with};
use crate::story::{installed, property, refresh_succeeds, state};

/// A host that downloads ahead, on which an update of `demo` is staged.
fn staged(release: Release) -> (Host, Repo) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    host.write(
        "/etc/linux_patch_api/config.d/stage.toml",
        "[refresh]\nstage = true\n",
    );
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Phase"), "staged");
    (host, repo)
}

/// The packages, in which version, that were asked for since the last look.
fn fetched(repo: &Repo) -> Vec<String> {
    let paths = repo.take_requests().into_iter();
    let files = paths.filter(|path| path.contains(".deb"));
    files
        .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
        .collect()
}

releases!(what_a_refresh_has_staged_is_installed_without_fetching_a_package [bookworm trixie]);
fn what_a_refresh_has_staged_is_installed_without_fetching_a_package(release: Release) {
    let (host, repo) = staged(release);
    assert_eq!(fetched(&repo), ["demo_1.1_all.deb"]);
    assert_eq!(property(&host, "ToVersion"), "1.1");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert!(host.sh("patchctl status").contains("staged"));
    assert_eq!(events_of_kind(&host, message::STAGED).len(), 1);
    let denied = host.messages(&["-u", "patch-refresh.service"]).join("\n");
    for word in ["ermission denied", "not permitted", "downloaded ahead:"] {
        assert!(!denied.contains(word), "{denied}");
    }

    refresh_succeeds(&host);
    assert_eq!(fetched(&repo), [""; 0], "it is there already");
    assert_eq!(events_of_kind(&host, message::STAGED).len(), 1);

    // the next version takes its place
    repo.add(&plain("demo", "1.2"));
    refresh_succeeds(&host);
    assert_eq!(fetched(&repo), ["demo_1.2_all.deb"]);
    assert_eq!(property(&host, "ToVersion"), "1.2");

    host.reboot();
    assert_eq!(property(&host, "Phase"), "staged");
    // the mirror has its index, and nothing else any more
    repo.remove_from_pool("demo", "1.2");
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.2"]);
    assert_eq!(fetched(&repo), [""; 0]);
    assert_eq!(property(&host, "Phase"), "success");
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: wrong or damaged file
#[test]
fn a_staged_file_that_was_damaged_since_is_fetched_again() {
    let (host, repo) = staged(Release::Trixie);
    fetched(&repo);
    host.sh(
        "cd /var/cache/apt/archives && file=demo_1.1_all.deb && size=$(stat -c %s $file) && \
         printf X | dd of=$file bs=1 seek=$((size - 20)) conv=notrunc status=none && \
         [ $(stat -c %s $file) = $size ]",
    );

    let job = applied(&host, "demo");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(fetched(&repo), ["demo_1.1_all.deb"]);
}

#[test]
fn what_another_program_has_installed_is_no_longer_staged() {
    let (host, _repo) = staged(Release::Trixie);
    host.sh("apt-get -q -y install demo");

    refresh_succeeds(&host);

    assert_eq!(property(&host, "Phase"), "idle");
}

#[test]
fn another_set_of_the_same_size_is_news_a_staged_one_is_not() {
    let (host, repo) = staged(Release::Trixie);
    let told = || events_of_kind(&host, message::STAGED).len();
    repo.add(&plain("other", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "ToVersion"), "2 packages");
    assert_eq!(told(), 2);
    let since = || state(&host, "state/update.json")["updated_at"].clone();
    let before = since();

    repo.add(&plain("demo", "1.2"));
    refresh_succeeds(&host);

    assert_eq!(property(&host, "ToVersion"), "2 packages");
    assert_eq!(told(), 3);
    let after = since();
    assert_ne!(after, before);
    refresh_succeeds(&host);
    assert_eq!((told(), since()), (3, after));
    let job = applied(&host, "all");
    assert_eq!(job["update"]["from_version"], "2 packages", "{job:#}");
    assert_eq!(job["update"]["to_version"], "2 packages", "{job:#}");
}

#[test]
fn a_request_does_not_wait_for_what_is_downloaded_ahead() {
    let (host, repo) = staged(Release::Trixie);
    repo.add(&plain("demo", "1.2"));
    repo.add(&plain("other", "1.1"));
    repo.fault("demo_1.2", Fault::Drip);
    let refreshing = host.spawn("systemctl start patch-refresh.service");
    host.wait_for("the download", || {
        repo.requests().iter().any(|path| path.contains("demo_1.2"))
    });
    // the work of all other programs comes first
    let download = host.sh("pgrep -x apt-get | head -n 1");
    let priority = host.sh(&format!("ps -o ni= -p {0}; ionice -p {0}", download.trim()));
    let priority: Vec<&str> = priority.split_whitespace().collect();
    assert_eq!(priority, ["19", "idle"]);

    let job = applied(&host, "other");

    assert_eq!(changes(&job), ["other 1.0 -> 1.1"]);
    assert!(refreshing.wait().success(), "the refresh itself was made");
}
