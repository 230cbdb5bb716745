//! Base trees: each release bootstrapped once from the real archive, made quiet, and then only ever read.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::mirror::{self, Mirror};
use crate::{cache, machine, rpm};

/// Counted up whenever a base tree comes out differently for the same packages.
const RECIPE: &str = "1";

/// What every host has: systemd with its bus and polkit, and what tests and our package's dependencies need.
const PACKAGES: &[&str] = &[
    "adduser",
    "ca-certificates",
    "dbus",
    "init-system-helpers",
    "polkitd",
    "procps",
    "python3-minimal",
    "strace",
    "systemd",
    "systemd-sysv",
    "udev",
];

/// Units that would work behind a test's back, or have nothing to do in a container.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "apt-daily.service",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty.target",
    "logrotate.timer",
    "man-db.timer",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
];

/// A Debian release hosts can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12: systemd 252, apt 2.6.
    Bookworm,
    /// Debian 13: systemd 257, apt 3.0. Bootstrapped without its security updates, so that some are pending.
    Trixie,
    /// Debian 14, not released yet: systemd 262, apt 3.3. The one that has dnf 5.
    Forky,
}

impl Release {
    /// The name the archive knows it by.
    pub fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }
}

/// The tree of `release` with `extra` packages besides the usual ones, bootstrapped when there is none yet.
pub(crate) fn tree(release: Release, extra: &[String]) -> Result<PathBuf> {
    let mut packages: Vec<&str> = PACKAGES
        .iter()
        .copied()
        .chain(extra.iter().map(String::as_str))
        .collect();
    packages.sort_unstable();
    packages.dedup();
    let list = packages.join(",");
    let masked = MASKED.join(",");
    let mut parts = vec![RECIPE, machine::architecture(), &list, &masked];
    if packages.contains(&"rpm") {
        parts.extend(rpm::STOOD_IN_FOR);
    }
    let key = cache::key(parts);
    cache::build_once("base", &format!("{}-{key}", release.codename()), |tree| {
        bootstrap(release, &list, tree)?;
        if packages.contains(&"rpm") {
            make_known_to_rpm(release, tree)?;
        }
        if packages.contains(&"pacman-package-manager") {
            make_like_arch(tree)?;
        }
        make_quiet(tree)
    })
}

fn bootstrap(release: Release, packages: &str, tree: &Path) -> Result<()> {
    let mut arguments = vec![
        "--quiet".to_owned(),
        "--variant=apt".to_owned(),
        format!("--include={packages}"),
    ];
    arguments.extend(mirror::proxy().map(|line| format!("--aptopt={line}")));
    if release == Release::Forky {
        // its index is valid for a week only, and mirrors of it fall behind
        arguments.push("--aptopt=Acquire::Check-Valid-Until \"false\";".to_owned());
    }
    arguments.push(release.codename().to_owned());
    let tree = tree.to_str().context("the cache's path is not UTF-8")?;
    arguments.extend([tree.to_owned(), Mirror::of_this_machine()?.main]);
    machine::run("mmdebstrap", &arguments).map(drop)
}

/// rpm's own database is empty on Debian, and no file says what its release version is.
fn make_known_to_rpm(release: Release, tree: &Path) -> Result<()> {
    let libraries = tree
        .join("usr/lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let libraries = [
        "ld-linux-x86-64.so.2",
        "libc.so.6",
        "libgcc_s.so.1",
        "libm.so.6",
    ]
    .map(|name| libraries.join(name))
    .into_iter()
    .filter(|library| library.exists());
    let query = ["dpkg-query", "--show", "--showformat=${Version}", "systemd"].map(AsRef::as_ref);
    let systemd = machine::run("chroot", &[&[tree.as_os_str()], &query[..]].concat())?;
    let (systemd, _) = systemd.split_once('-').context("systemd has no version")?;
    let stand_in = rpm::stand_in(systemd, &libraries.collect::<Vec<_>>())?;
    let copy = tree.join("stand-in.rpm");
    fs::copy(stand_in, &copy).context("failed to copy a package into the tree")?;
    let install = ["rpm", "--install", "--nosignature", "/stand-in.rpm"].map(AsRef::as_ref);
    machine::run("chroot", &[&[tree.as_os_str()], &install[..]].concat())?;
    cache::remove(&copy)?;
    let variables = tree.join("etc/dnf/vars");
    if variables.exists() {
        fs::write(variables.join("releasever"), release.codename())?;
    }
    Ok(())
}

/// What pacman finds on Arch Linux: an account for its downloads, and repositories in files of their own.
fn make_like_arch(tree: &Path) -> Result<()> {
    let account = [
        "useradd",
        "--system",
        "--home-dir",
        "/",
        "--shell",
        "/usr/sbin/nologin",
        "alpm",
    ];
    let account = account.map(AsRef::as_ref);
    machine::run("chroot", &[&[tree.as_os_str()], &account[..]].concat())?;
    fs::create_dir_all(tree.join("etc/pacman.d/repos"))?;
    // pacman takes it for an error when there is none
    fs::write(
        tree.join("etc/pacman.d/repos/00-none.conf"),
        "# no repository\n",
    )?;
    let configuration = "[options]\nHoldPkg = pacman glibc\nArchitecture = auto\nCheckSpace\n\
        ParallelDownloads = 5\nDownloadUser = alpm\nSigLevel = Required DatabaseOptional\n\
        LocalFileSigLevel = Optional\nInclude = /etc/pacman.d/repos/*.conf\n";
    fs::write(tree.join("etc/pacman.conf"), configuration).context("failed to configure pacman")
}

/// No sources, no names of this machine, no background work, and nothing left to do at the first boot.
fn make_quiet(tree: &Path) -> Result<()> {
    for leftover in [
        "etc/apt/sources.list",
        "etc/apt/sources.list.d",
        "etc/hostname",
        "etc/machine-id",
        "etc/resolv.conf",
        "var/lib/apt/lists",
        "var/lib/dbus/machine-id",
    ] {
        cache::remove(&tree.join(leftover))?;
    }
    for directory in [
        "etc/apt/keyrings",
        "etc/apt/sources.list.d",
        "etc/systemd/system",
        "var/lib/apt/lists/partial",
        "var/log/journal", // its presence makes the journal persistent
    ] {
        fs::create_dir_all(tree.join(directory))
            .with_context(|| format!("failed to create '{directory}'"))?;
    }
    for unit in MASKED {
        let path = tree.join("etc/systemd/system").join(unit);
        symlink("/dev/null", &path).with_context(|| format!("failed to mask '{unit}'"))?;
    }
    machine::run("chroot", &[tree.as_os_str(), "ldconfig".as_ref()])?;
    // journalctl of Debian 14 reaches the files of the catalog through /proc
    let update = r#"mount -t proc proc "$1/proc" && chroot "$1" journalctl --update-catalog"#;
    let arguments = ["--mount", "sh", "-c", update, "sh"].map(AsRef::as_ref);
    machine::run("unshare", &[&arguments[..], &[tree.as_os_str()]].concat())?;
    for stamp in ["etc/.updated", "var/.updated"] {
        fs::write(tree.join(stamp), "").with_context(|| format!("failed to write '{stamp}'"))?;
    }
    Ok(())
}
