//! A past tested on itself: the host has every package one version earlier, and the archive the rest.

use lab::{Host, Past, Release, differences};

#[test]
fn a_host_of_a_past_has_just_the_archive_s_versions_pending() {
    let names = ["cron", "libssl3t64", "openssl", "openssl-provider-legacy"];
    let past = Past::of(Release::Trixie, &names);
    let host = Host::builder(Release::Trixie).past(&past).bare().boot();
    let _archive = past.archive(&host);
    for package in past.packages() {
        assert_eq!(package.former, format!("{}~", package.present));
    }
    let has = |name: &str| past.packages().iter().any(|package| package.name == name);
    assert!(names.iter().all(|name| has(name)) && has("cron-daemon-common"));
    assert_eq!(host.sh("systemctl is-active cron.service").trim(), "active");
    assert_eq!(
        host.sh("apt-mark showmanual cron cron-daemon-common")
            .trim(),
        "cron"
    );

    let is_as = |which: fn(&lab::Aged) -> lab::Manifest| {
        let manifests = past.packages().iter();
        let manifests: Vec<_> = manifests
            .map(|package| (package.name.as_str(), which(package)))
            .collect();
        differences(
            &host,
            manifests.iter().map(|(name, manifest)| (*name, manifest)),
        )
    };
    assert_eq!(is_as(lab::Aged::former_files), [""; 0]);
    let wrong = is_as(lab::Aged::present_files);
    for part in [
        "cron: /usr/sbin/cron is File",
        "openssl: /usr/bin/openssl is File",
    ] {
        assert!(
            wrong.iter().any(|line| line.starts_with(part)),
            "{part}: {wrong:#?}"
        );
    }
    let brought = "/usr/share/doc/cron/changelog.Debian.gz is missing";
    assert!(
        wrong.iter().any(|line| line.ends_with(brought)),
        "{wrong:#?}"
    );

    host.sh("apt-get -q update && apt-get -q -y --no-install-recommends --no-remove upgrade");
    assert_eq!(is_as(lab::Aged::present_files), [""; 0]);
    assert!(!is_as(lab::Aged::former_files).is_empty());
    let versions = host.sh("dpkg-query -W -f='${Package} ${Version}\\n'");
    for package in past.packages() {
        let line = format!("{} {}", package.name, package.present);
        assert!(versions.lines().any(|is| is == line), "{line}\n{versions}");
    }
    assert!(
        host.sh("cat /etc/crontab")
            .lines()
            .all(|line| !line.starts_with("# as of"))
    );
    assert_eq!(host.sh("dpkg --audit"), "");
    assert_eq!(host.sh("dpkg -V"), "");
}
