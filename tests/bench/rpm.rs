//! The package managers of RPM and pacman, against themselves: with a local repository, of packages as large
//! as those of a distribution.

use lab::{Deb, Host, Manager, Repo, fixtures};

use crate::stopwatch::{median, rounds};
use crate::table::Target;
use crate::{Row, Unit};

/// How many files a package has, and how large each is. A package of a small Debian 13 has 84 paths and 1.6 MB
/// on the average.
const FILES: usize = 60;
const FILE_SIZE: usize = 27_000;

/// An update, and what is aimed at with it.
struct Size {
    /// How many packages it changes.
    packages: usize,
    /// How often the raw tool and ours do it in turn.
    rounds: usize,
    target: Target,
}

/// As many packages as the update with apt had that the aims were taken from, and so many that these tools are
/// at work for as long as apt was then, 7.5 s: they do not sync every file, these packages have no scripts, and
/// they are done with 23 in 1.5 s. Of those, too, we may take no more than 5 % of 7.5 s.
const SIZES: [Size; 2] = [
    Size {
        packages: 23,
        rounds: 7,
        target: Target::Difference(0.375),
    },
    Size {
        packages: 100,
        rounds: 5,
        target: Target::Ratio(1.05),
    },
];

/// Where the former packages lie in a host.
const FORMER: &str = "/root/former";

/// A package manager, and what it is compared with: its two commands, as apt has them.
pub struct Tool {
    manager: Manager,
    backend: &'static str,
    name: &'static str,
    raw: &'static str,
}

pub const DNF4: Tool = Tool {
    manager: Manager::Dnf,
    backend: "dnf",
    name: "dnf makecache, upgrade",
    raw: "dnf -y makecache --refresh && dnf -y upgrade",
};

pub const DNF5: Tool = Tool {
    manager: Manager::Dnf5,
    name: "dnf5 makecache, upgrade",
    raw: "dnf5 -y makecache --refresh && dnf5 -y upgrade",
    ..DNF4
};

pub const ZYPPER: Tool = Tool {
    manager: Manager::Zypper,
    backend: "zypper",
    name: "zypper refresh, update",
    raw: "zypper --non-interactive refresh && zypper --non-interactive update",
};

pub const PACMAN: Tool = Tool {
    manager: Manager::Pacman,
    backend: "pacman",
    name: "pacman -Sy, -Su",
    raw: "pacman -Sy && pacman -Su --noconfirm",
};

/// Refresh, and apply everything.
pub fn apply(tool: &Tool) -> Vec<Row> {
    let &Tool {
        manager,
        backend,
        name,
        raw,
    } = tool;
    let row = |size: Size| {
        let (host, _repo) = host(manager, backend, size.packages);
        let commands = [raw, "systemctl start patch-apply@all.service"];
        let updated = match manager {
            Manager::Pacman => "pacman -Q | grep -c ' 1.1-1$'",
            _ => "rpm -qa | grep -c -- '-1.1-1.noarch'",
        };
        let is_done = format!("test $({updated}) = {}", size.packages);
        let times = rounds(
            &host,
            size.rounds,
            (&put_back(manager), &is_done),
            &commands,
        );
        Row {
            work: format!("refresh and apply {} updates by {manager:?}", size.packages),
            unit: Unit::Seconds,
            other: Some((name, median(&times[0]))),
            ours: median(&times[1]),
            target: size.target,
        }
    };
    SIZES.into_iter().map(row).collect()
}

/// Makes the updates pending again, nothing of them fetched or kept, and lets the disk come to rest.
fn put_back(manager: Manager) -> String {
    let (put, cache) = match manager {
        Manager::Dnf => ("rpm -U --oldpackage", "/var/cache/dnf/*/packages"),
        Manager::Dnf5 => ("rpm -U --oldpackage", "/var/cache/libdnf5/*/packages"),
        Manager::Zypper => ("rpm -U --oldpackage", "/var/cache/zypp/packages"),
        _ => ("pacman -U --noconfirm", "/var/cache/pacman/pkg/*"),
    };
    format!(
        "{put} {FORMER}/* >/dev/null 2>&1 || exit 1; rm -rf {cache} /var/lib/linux_patch_api/packages/*; sync"
    )
}

/// A host for which that many updates are there.
fn host(manager: Manager, backend: &str, count: usize) -> (Host, Repo) {
    let host = Host::patched_by(manager).boot();
    let packages = |version: &str| -> Vec<Deb> {
        (1..=count)
            .map(|n| package(&format!("bench-{n}"), version))
            .collect()
    };
    host.write(
        "/etc/linux_patch_api/config.toml",
        format!("backend = \"{backend}\"\n"),
    );
    for package in packages("1.0") {
        host.copy_in(
            &manager.build(&package),
            &format!("{FORMER}/{}", package.name()),
        );
    }
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
