//! dnf 4, dnf 5 and yum, and how they differ.

/// Which of them it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// dnf 4: Fedora up to 40, RHEL and its clones 8 to 10, Amazon Linux 2023.
    Dnf4,
    /// dnf 5: Fedora 41 and later.
    Dnf5,
    /// yum 3: RHEL 7, Amazon Linux 2. On later systems `yum` is a name of dnf.
    Yum,
}

impl Variant {
    /// The name that `backend =` gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dnf4 | Self::Dnf5 => "dnf",
            Self::Yum => "yum",
        }
    }

    /// The program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Dnf4 => "/usr/bin/dnf",
            Self::Dnf5 => "/usr/bin/dnf5",
            Self::Yum => "/usr/bin/yum",
        }
    }

    /// Where repositories are configured: the defaults of `reposdir` (dnf.conf(5), yum.conf(5)).
    #[must_use]
    pub fn repositories(self) -> &'static [&'static str] {
        match self {
            Self::Dnf4 | Self::Dnf5 => &[
                "/etc/yum.repos.d",
                "/etc/distro.repos.d",
                "/etc/yum/repos.d",
                "/usr/share/dnf5/repos.d",
            ],
            Self::Yum => &["/etc/yum.repos.d", "/etc/yum/repos.d"],
        }
    }

    /// The files whose change may change what is pending.
    #[must_use]
    pub fn configuration(self) -> &'static [&'static str] {
        match self {
            Self::Dnf4 | Self::Dnf5 => &[
                "/etc/yum.repos.d",
                "/etc/distro.repos.d",
                "/etc/dnf/dnf.conf",
                "/etc/dnf/libdnf5.conf.d",
                "/usr/share/dnf5/libdnf.conf.d",
                "/etc/dnf/libdnf5-plugins",
                "/etc/dnf/plugins",
                "/etc/dnf/versionlock.toml",
                "/etc/dnf/vars",
                "/etc/dnf/modules.d",
            ],
            Self::Yum => &[
                "/etc/yum.repos.d",
                "/etc/yum.conf",
                "/etc/yum/pluginconf.d/versionlock.list",
                "/etc/yum/vars",
            ],
        }
    }
}
