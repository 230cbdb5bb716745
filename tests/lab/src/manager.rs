//! The package managers a host can be patched by: the release that has them, and what they call things.

use std::path::PathBuf;

use crate::apk;
use crate::base::Release;
use crate::deb::Deb;

/// A package manager hosts can be patched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// apt and dpkg.
    Apt,
    /// dnf 4, on Debian 13.
    Dnf,
    /// dnf 5, on Debian 14.
    Dnf5,
    /// zypper, on Debian 13.
    Zypper,
    /// pacman, on Debian 13.
    Pacman,
    /// apk, which Debian does not have: the test gives the host a stand-in.
    Apk,
}

/// The kind of files a package manager reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Deb,
    Rpm,
    Pacman,
    Apk,
}

impl Manager {
    /// The release whose hosts carry it; apt is on all of them.
    pub fn release(self) -> Release {
        match self {
            Self::Apt | Self::Dnf | Self::Zypper | Self::Pacman | Self::Apk => Release::Trixie,
            Self::Dnf5 => Release::Forky,
        }
    }

    /// `version` of a fixture, as the package database has it: with its release.
    pub fn version(self, version: &str) -> String {
        match self.format() {
            Format::Rpm | Format::Pacman if !version.contains('-') => format!("{version}-1"),
            Format::Apk => apk::version(version),
            _ => version.to_owned(),
        }
    }

    /// The file of this package that it can install.
    #[track_caller]
    pub fn build(self, package: &Deb) -> PathBuf {
        match self.format() {
            Format::Deb => package.build(),
            Format::Rpm => package.build_rpm(),
            Format::Pacman => package.build_pkg(),
            Format::Apk => package.build_apk(),
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            Self::Apt => Format::Deb,
            Self::Dnf | Self::Dnf5 | Self::Zypper => Format::Rpm,
            Self::Pacman => Format::Pacman,
            Self::Apk => Format::Apk,
        }
    }

    /// What a base tree needs besides the usual packages.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Apt | Self::Apk => &[],
            Self::Dnf => &["createrepo-c", "dnf", "rpm"],
            Self::Dnf5 => &["createrepo-c", "dnf5", "rpm"],
            Self::Zypper => &["createrepo-c", "rpm", "zypper"],
            Self::Pacman => &[
                "binutils",
                "libarchive-tools",
                "makepkg",
                "pacman-package-manager",
            ],
        }
    }

    /// Where it looks for the definitions of repositories.
    pub(crate) fn sources(self) -> &'static str {
        match self {
            Self::Apt => "/etc/apt/sources.list.d",
            Self::Dnf | Self::Dnf5 => "/etc/yum.repos.d",
            Self::Zypper => "/etc/zypp/repos.d",
            Self::Pacman => "/etc/pacman.d/repos",
            Self::Apk => "/etc/apk/repositories",
        }
    }

    /// Installs package files given after it, without asking.
    pub(crate) fn install_command(self) -> &'static str {
        match self {
            Self::Apt => "apt-get install -q -y --allow-downgrades",
            Self::Dnf => "dnf install -q -y --disablerepo='*' --nogpgcheck",
            Self::Dnf5 => "dnf5 install -q -y --disable-repo='*' --no-gpgchecks",
            Self::Pacman => "pacman -U --noconfirm",
            Self::Apk => "apk add",
            Self::Zypper => {
                "zypper --non-interactive --quiet --no-refresh install --allow-unsigned-rpm --oldpackage"
            }
        }
    }

    /// Unpacks and configures package files given after it, below any package manager.
    pub(crate) fn put_command(self) -> &'static str {
        match self.format() {
            Format::Deb => "dpkg --install",
            Format::Rpm => "rpm --upgrade --oldpackage --nosignature",
            Format::Pacman => "pacman --upgrade --noconfirm --nodeps --nodeps",
            Format::Apk => "apk add",
        }
    }
}
