//! A large host: real packages with their services are updated, rolled back and updated again, through power cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lab::{Aged, Host, Manifest, Past, Release, differences};
use serde_json::Value;

use crate::job::{id_of, list};
use crate::story::{jobs, last_job};

/// What the host is for; all that they need comes with them. More than 120 packages in all.
const PACKAGES: [&str; 14] = [
    "postgresql",
    "nginx",
    "php-fpm",
    "redis-server",
    "samba",
    "memcached",
    "haproxy",
    "bind9",
    "chrony",
    "openssh-server",
    "rsync",
    "git",
    "cron",
    "logrotate",
];

/// The services that have to run before, between and after.
const SERVICES: [&str; 7] = [
    "postgresql@17-main",
    "nginx",
    "php8.4-fpm",
    "redis-server",
    "smbd",
    "memcached",
    "cron",
];

/// How long so many packages may take on a busy machine before the story gives up.
const LIMIT: Duration = Duration::from_secs(900);

/// After how many packages that dpkg has begun to unpack the power goes.
const UNPACKED: usize = 60;

// fault: power cut
#[test]
fn a_large_host_goes_forwards_and_back_file_by_file_through_power_cuts() {
    let past = Past::of(Release::Trixie, &PACKAGES);
    assert!(past.packages().len() >= 120, "{}", past.packages().len());
    let host = Host::builder(Release::Trixie).past(&past).boot();
    let _archive = past.archive(&host);
    let [former, present] = [Aged::former_files, Aged::present_files].map(|files| {
        let packages = past.packages().iter();
        let named = packages.map(|package| (package.name.clone(), files(package)));
        named.collect::<BTreeMap<_, _>>()
    });
    is_as(&host, &past, &former, |package| &package.former);
    let marks = host.sh("apt-mark showmanual");

    // forwards, through a power cut
    cut_in_the_middle_of(&host, "systemctl start patch-apply@all.service", "upgrade");
    let applied = the_job_ends(&host, "apply");
    assert_eq!(applied["status"], "succeeded", "{}", told(&host, &applied));
    let changed: BTreeSet<&str> = list(&applied, "changes")
        .iter()
        .filter_map(|change| change["package"].as_str())
        .collect();
    let aged: BTreeSet<&str> = past.packages().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(changed, aged);
    is_as(&host, &past, &present, |package| &package.present);
    assert_eq!(host.sh("apt-mark showmanual"), marks);

    // back, through another one
    let undo = format!("patchctl rollback {}", id_of(&applied));
    cut_in_the_middle_of(&host, &undo, "upgrade");
    let undone = the_job_ends(&host, "rollback");
    assert_eq!(undone["status"], "succeeded", "{}", told(&host, &undone));
    is_as(&host, &past, &former, |package| &package.former);
    assert_eq!(host.sh("apt-mark showmanual"), marks);

    // and forwards again, at once
    host.sh(&format!("patchctl forget {}", id_of(&applied)));
    let again = host.try_sh("patchctl apply all 2>&1");
    assert!(again.success(), "{again}");
    let again = last_job(&host);
    assert_eq!(list(&again, "changes").len(), aged.len(), "{again:#}");
    is_as(&host, &past, &present, |package| &package.present);
    assert_eq!(host.sh("apt-mark showmanual"), marks);
}

/// Asks, waits until dpkg is in the middle of it, and cuts the power.
fn cut_in_the_middle_of(host: &Host, ask: &str, what: &str) {
    host.sh(": > /var/log/dpkg.log");
    let asked = host.spawn(&format!("{ask} 2>&1"));
    let count = format!("grep -c ' {what} ' /var/log/dpkg.log || true");
    host.wait_at_most(LIMIT, "dpkg to be in the middle", || {
        host.sh(&count)
            .trim()
            .parse()
            .is_ok_and(|n: usize| n >= UNPACKED)
    });
    host.power_cut();
    drop(asked);
    host.start();
}

/// The last job of this kind once no worker has anything to do for it any more.
fn the_job_ends(host: &Host, kind: &str) -> Value {
    host.wait_at_most(LIMIT, "the host to mend itself", || {
        !host.exists("/var/lib/linux_patch_api/state/running.json")
            && host
                .sh("systemctl is-active patch-recover.service patch-apply.service || true")
                .lines()
                .all(|state| state != "activating")
    });
    let mut jobs = jobs(host).into_iter().rev();
    let found = jobs.find(|job| job["request"]["kind"] == kind);
    found.unwrap_or_else(|| panic!("there is no job '{kind}'"))
}

/// What the package manager printed, and how it ended.
fn told(host: &Host, job: &Value) -> String {
    host.sh(&format!(
        "tail -n 400 /var/lib/linux_patch_api/jobs/{}.log; echo; echo {}",
        id_of(job),
        job["error"]
    ))
}

/// Every package has this version and all of its files, the database is sound, and the services run.
#[track_caller]
fn is_as(
    host: &Host,
    past: &Past,
    files: &BTreeMap<String, Manifest>,
    version: fn(&Aged) -> &String,
) {
    let shown = host.sh("dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\\n'");
    let installed: BTreeSet<&str> = shown.lines().collect();
    for package in past.packages() {
        let line = format!("{} {} installed", package.name, version(package));
        assert!(installed.contains(&*line), "no '{line}' in\n{shown}");
    }
    assert_eq!(host.sh("dpkg --audit"), "");
    let manifests = files
        .iter()
        .map(|(name, manifest)| (name.as_str(), manifest));
    assert_eq!(differences(host, manifests), [""; 0]);
    for service in SERVICES {
        let unit = format!("{service}.service");
        let active = format!("systemctl is-active {unit} || true");
        host.wait_for(&unit, || host.sh(&active).trim() == "active");
    }
}
