//! Sources that are dead, forged, or older than before: they are named, and no package is taken from them.

use std::time::{Duration, SystemTime};

use lab::{Fault, Host, Release, Repo, Tamper, fixtures};
use linux_patch_api::journal::id;
use serde_json::Value;

use crate::job::{applied, host_with};
use crate::story::{events, installed, last_job, property, refresh_fails, refresh_succeeds, state};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A host with two sources: `ours` is of the first, `theirs` of the one at packages.example.org; both
/// are installed, and each source has then published a newer version that the host knows of.
fn two_sources(release: Release) -> (Host, Repo, Repo) {
    let host = Host::boot(release);
    let good = Repo::new(&host);
    let other = Repo::builder("other")
        .hostname("packages.example.org")
        .build(&host);
    for (repo, package) in [(&good, "ours"), (&other, "theirs")] {
        repo.add(&fixtures::plain(package, "1.0"));
        repo.enable(&host);
    }
    refresh_succeeds(&host);
    host.sh("apt-get install -q -y ours theirs");
    good.add(&fixtures::plain("ours", "1.1"));
    other.add(&fixtures::plain("theirs", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    (host, good, other)
}

fn tolerate(host: &Host) {
    let text = "[refresh]\ntolerate = [\"packages.example.org\"]\n";
    host.write("/etc/linux_patch_api/config.toml", text);
}

/// The record of the source at that address.
fn source(host: &Host, repo: &Repo) -> Value {
    let cache = state(host, "state/cache.json");
    let sources = cache["sources"].as_array().expect("no sources");
    let ours = |source: &&Value| source["uri"] == repo.url().as_str();
    sources.iter().find(ours).expect("no such source").clone()
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn one_dead_source_of_two_fails_the_refresh_and_is_named() {
    let (host, good, other) = two_sources(Release::Trixie);
    other.stop();
    let why = refresh_fails(&host);
    assert!(
        why.contains(&other.url()) && !why.contains(&good.url()),
        "{why}"
    );
    let failed = events(&host, "MESSAGE_ID", id::SOURCE_FAILED);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["PATCH_SOURCE"], format!("{} stable", other.url()));
    // the good one is said to be good
    assert_eq!(source(&host, &good)["error"], Value::Null);
    let date = |repo: &Repo| source(&host, repo)["last_success"].to_string();
    assert!(date(&good) > date(&other));

    assert!(
        !host
            .try_sh("systemctl start patch-apply@all.service")
            .success()
    );
    assert_eq!(installed(&host, "ours"), "1.0 installed");
    other.start();
    host.sh("systemctl start patch-apply@all.service");
    assert_eq!(installed(&host, "ours"), "1.1 installed");
    assert_eq!(installed(&host, "theirs"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

releases!(nothing_is_applied_from_a_dead_source_that_is_tolerated [bookworm trixie]);
fn nothing_is_applied_from_a_dead_source_that_is_tolerated(release: Release) {
    let (host, _good, other) = two_sources(release);
    tolerate(&host);
    other.stop();
    refresh_succeeds(&host);
    let reasons = property(&host, "HealthReasons");
    assert!(
        reasons.contains("tolerated") && reasons.contains(&other.url()),
        "{reasons}"
    );
    assert_eq!(source(&host, &other)["tolerated"], true);
    assert_eq!(
        property(&host, "PendingUpdates"),
        "1",
        "apt's old index counts for nothing"
    );

    // also when it is the one that is asked for
    let named = host.try_sh("systemctl start patch-apply@theirs.service");
    assert!(!named.success(), "{named}");
    kept_back(&host, "failed");
    assert_eq!(installed(&host, "ours"), "1.0 installed");
    host.sh("systemctl start patch-apply@all.service");
    kept_back(&host, "succeeded");
    assert_eq!(installed(&host, "ours"), "1.1 installed");
    // and when there is nothing else
    host.sh("systemctl start patch-apply@all.service");
    kept_back(&host, "succeeded");
    let listed = host.sh("patchctl updates --json");
    assert!(!listed.contains("\"1.1\""), "{listed}");

    other.start();
    host.sh("systemctl start patch-apply@theirs.service");
    assert_eq!(installed(&host, "theirs"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// The last job has left `theirs` as it is, and says why.
fn kept_back(host: &Host, status: &str) {
    assert_eq!(installed(host, "theirs"), "1.0 installed");
    let job = last_job(host);
    assert_eq!(job["status"], status, "{job}");
    let kept = job["kept_back"].as_array().expect("no list");
    assert_eq!(kept.len(), 1, "{job}");
    assert_eq!(kept[0]["package"], "theirs");
    let reason = kept[0]["reason"].as_str().expect("no reason");
    assert!(
        reason.contains("a source whose last refresh failed"),
        "{reason}"
    );
    // once, and not at every job
    let told = events(host, "PATCH_PACKAGE", "theirs");
    let told = told
        .iter()
        .filter(|event| event["MESSAGE_ID"] == linux_patch_api::journal::id::PACKAGE_KEPT_BACK);
    assert_eq!(told.count(), 1);
}

#[test]
fn tolerating_every_source_is_no_success() {
    let host = Host::boot(Release::Trixie);
    let only = Repo::builder("only")
        .hostname("packages.example.org")
        .build(&host);
    only.enable(&host);
    tolerate(&host);
    refresh_succeeds(&host);
    only.stop();
    refresh_fails(&host);
}

releases!(a_source_that_lives_elsewhere_is_followed [bookworm trixie]);
/// A mirror that redirects, and a list of mirrors, as the sources of Debian's cloud images name one.
fn a_source_that_lives_elsewhere_is_followed(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    let sources = "/etc/apt/sources.list.d/lab.sources";
    let redirect = |repo: &Repo| repo.fault("", Fault::Moved);
    let list = |host: &Host, repo: &Repo| {
        // the first of them is away
        let mirrors = format!(
            "http://127.0.0.2:9/\tpriority:1\n{}\tpriority:2\n",
            repo.url()
        );
        host.write("/etc/apt/mirrors/lab.list", mirrors);
        let mirrors = "URIs: mirror+file:///etc/apt/mirrors/lab.list";
        host.sh(&format!("sed -i 's#^URIs: .*#{mirrors}#' {sources}"));
    };
    let steps: [(&str, &dyn Fn()); 3] = [
        ("1.1", &|| redirect(&repo)),
        ("1.2", &|| list(&host, &repo)),
        ("1.3", &|| repo.heal()),
    ];
    for (version, change) in steps {
        change();
        repo.add(&fixtures::plain("demo", version));
        refresh_succeeds(&host);
        assert_eq!(property(&host, "PendingUpdates"), "1", "{version}");
        // and the index that has not changed since is an answer, too
        let job = applied(&host, "demo");
        assert_eq!(job["changes"][0]["to"], version, "{job:#}");
        assert_eq!(property(&host, "Health"), "healthy");
    }
}

releases!(a_directory_on_the_host_is_a_source [bookworm trixie]);
/// Packages beside their list, without a signed index, as many a local source is made.
fn a_directory_on_the_host_is_a_source(release: Release) {
    let host = Host::boot(release);
    host.put_on(&[fixtures::plain("demo", "1.0")]);
    host.write(
        "/etc/apt/sources.list.d/local.list",
        "deb [trusted=yes] file:/srv/packages ./\n",
    );
    for version in ["1.1", "1.2"] {
        let deb = fixtures::plain("demo", version).build();
        host.copy_in(&deb, "/srv/packages/demo.deb");
        let entry = "dpkg-deb --field demo.deb; echo Filename: ./demo.deb; stat -c 'Size: %s' demo.deb; \
            sha256sum demo.deb | sed 's/ .*//; s/^/SHA256: /'";
        host.sh(&format!("cd /srv/packages && ({entry}) >Packages"));
        refresh_succeeds(&host);
        assert_eq!(property(&host, "PendingUpdates"), "1", "{version}");
        let job = applied(&host, "demo");
        assert_eq!(job["changes"][0]["to"], version, "{job:#}");
        assert_eq!(property(&host, "Health"), "healthy");
    }
    host.sh("rm -r /srv/packages");
    let why = refresh_fails(&host);
    assert!(why.contains("file:/srv/packages/"), "{why}");
}

// fault: bad signature, expired, replayed
releases!(a_forged_or_outdated_index_fails_the_refresh [bookworm trixie]);
fn a_forged_or_outdated_index_fails_the_refresh(release: Release) {
    let host = Host::boot(release);
    let repo = Repo::new(&host);
    repo.set(|options| options.date = Some(SystemTime::now() - DAY));
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(&host);
    refresh_succeeds(&host);
    host.sh("apt-get install -q -y demo");
    let old = repo.snapshot();
    repo.set(|options| options.date = None);
    repo.add(&fixtures::plain("demo", "1.1"));
    refresh_succeeds(&host);
    let good = repo.snapshot();

    let expire = |repo: &Repo| repo.set(|o| o.valid_until = Some(SystemTime::now() - DAY / 24));
    refused(&host, &repo, id::SOURCE_FAILED, "is expired", expire);
    repo.set(|options| options.valid_until = None);
    let tomorrow = |repo: &Repo| repo.set(|o| o.date = Some(SystemTime::now() + DAY));
    refused(
        &host,
        &repo,
        id::SOURCE_FAILED,
        "is not valid yet",
        tomorrow,
    );
    repo.set(|options| options.date = None);
    repo.restore(&good);
    let flip = |repo: &Repo| repo.tamper(Tamper::InRelease);
    refused(&host, &repo, id::SOURCE_FAILED, "signature", flip);
    repo.restore(&good);
    refused(
        &host,
        &repo,
        id::SOURCE_FAILED,
        "verification",
        Repo::sign_by_stranger,
    );
    repo.restore(&good);
    // apt itself exits with 0 and says nothing
    let replay = |repo: &Repo| repo.restore(&old);
    refused(&host, &repo, id::INDEX_WENT_BACK, "older than", replay);
    host.sh("rm -rf /var/lib/apt/lists/*");
    refused(&host, &repo, id::INDEX_WENT_BACK, "went back", replay);
    let apply = host.try_sh("systemctl start patch-apply@all.service");
    assert!(!apply.success(), "{apply}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    repo.restore(&good);
    refresh_succeeds(&host);
    host.sh("systemctl start patch-apply@all.service");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// The refresh fails after `forge`, with one event that names the source and says what is wrong.
#[track_caller]
fn refused(host: &Host, repo: &Repo, event: &str, words: &str, forge: impl Fn(&Repo)) {
    let told = events(host, "MESSAGE_ID", event).len();
    let last_success = source(host, repo)["last_success"].clone();
    let alarms = |host: &Host| {
        [id::SOURCE_FAILED, id::INDEX_WENT_BACK].map(|id| events(host, "MESSAGE_ID", id).len())
    };
    let before: usize = alarms(host).iter().sum();
    forge(repo);
    let why = refresh_fails(host);
    assert!(why.contains(&repo.url()) && why.contains(words), "{why}");
    let events = events(host, "MESSAGE_ID", event);
    assert_eq!(events.len(), told + 1, "{words}");
    assert_eq!(
        events[told]["PATCH_SOURCE"],
        format!("{} stable", repo.url())
    );
    assert_eq!(alarms(host).iter().sum::<usize>(), before + 1, "{words}");
    let after = source(host, repo)["last_success"].clone();
    assert_eq!(after, last_success, "a failure moves no date");
}
