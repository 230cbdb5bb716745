//! The package managers of RPM and pacman, against themselves: with a local repository, of packages as large
//! as those of a distribution.

use lab::{Deb, Host, Manager, Repo, fixtures};

use crate::stopwatch::{median, rounds};
use crate::table::Target;
use crate::{Row, Unit};

/// How many packages an update changes: as many as the update with apt that the aims were taken from.
const PACKAGES: usize = 23;

/// How many files a package has, and how large each is. A package of a small Debian 13 has 84 paths and 1.6 MB
/// on the average.
const FILES: usize = 60;
const FILE_SIZE: usize = 27_000;

/// The raw tool and ours in turn, so often, each on a host of its own.
const PAIRS: usize = 3;

/// Refresh, and apply everything: each tool by its two commands, as apt has them, and we by ours.
pub fn apply_everything() -> Vec<Row> {
    let tools = [
        (
            Manager::Dnf,
            "dnf",
            "dnf makecache, upgrade",
            "dnf -y makecache --refresh && dnf -y upgrade",
        ),
        (
            Manager::Dnf5,
            "dnf",
            "dnf5 makecache, upgrade",
            "dnf5 -y makecache --refresh && dnf5 -y upgrade",
        ),
        (
            Manager::Zypper,
            "zypper",
            "zypper refresh, update",
            "zypper --non-interactive refresh && zypper --non-interactive update",
        ),
        (
            Manager::Pacman,
            "pacman",
            "pacman -Sy, -Su",
            "pacman -Sy && pacman -Su --noconfirm",
        ),
    ];
    tools
        .into_iter()
        .map(|(manager, backend, name, raw)| apply(manager, backend, name, raw))
        .collect()
}

fn apply(manager: Manager, backend: &str, name: &'static str, raw: &str) -> Row {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        for (command, times) in [
            (raw, &mut theirs),
            ("systemctl start patch-apply@all.service", &mut ours),
        ] {
            let (host, _repo) = host(manager, backend);
            times.extend(rounds(&host, 1, ":", &[command]).concat());
            let updated = host.sh(match manager {
                Manager::Pacman => "pacman -Q | grep -c ' 1.1-1$'",
                _ => "rpm -qa | grep -c -- '-1.1-1.noarch'",
            });
            let updated: usize = updated.trim().parse().unwrap();
            assert_eq!(updated, PACKAGES, "{command} has not done its work");
        }
    }
    Row {
        work: format!("refresh and apply {PACKAGES} updates by {manager:?}"),
        unit: Unit::Seconds,
        other: Some((name, median(&theirs))),
        ours: median(&ours),
        target: Target::Ratio(1.05),
    }
}

/// A host with that many pending updates.
fn host(manager: Manager, backend: &str) -> (Host, Repo) {
    let host = Host::patched_by(manager).boot();
    let packages = |version: &str| -> Vec<Deb> {
        (1..=PACKAGES)
            .map(|n| package(&format!("bench-{n}"), version))
            .collect()
    };
    host.write(
        "/etc/linux_patch_api/config.toml",
        format!("backend = \"{backend}\"\n"),
    );
    host.put_on(&packages("1.0"));
    let repo = Repo::builder("lab").build(&host);
    for package in packages("1.1") {
        repo.add_to_pool_only(&package);
    }
    repo.reindex();
    repo.enable(&host);
    (host, repo)
}

/// A package of the usual size; its files are others in each version, and do not compress.
fn package(name: &str, version: &str) -> Deb {
    let mut state = name
        .bytes()
        .chain(version.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // xorshift64 (Marsaglia 2003): noise that is the same in every run
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..FILES).fold(fixtures::plain(name, version), |package, n| {
        let content: Vec<u8> = (0..FILE_SIZE).map(|_| noise()).collect();
        package.file(&format!("/usr/share/{name}/{n}"), content)
    })
}
