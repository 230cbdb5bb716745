//! Which package manager a host has, by its os-release and its tools.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::apk::{self, Apk};
use super::apt::{self, Apt};
use super::dnf::{Dnf, Variant};
use super::host_facts::HostFacts;
use super::manager::PackageManager;
use super::os_release::OsRelease;
use super::pacman::{self, Pacman};
use super::rpm;
use super::zypper::Zypper;
use crate::config::Config;

/// Package managers that a host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// apt and dpkg.
    Apt,
    /// dnf 4.
    Dnf,
    /// dnf 5.
    Dnf5,
    /// yum 3, of EL 7 and Amazon Linux 2; where `yum` is another name of dnf, it is dnf.
    Yum,
    /// zypper.
    Zypper,
    /// pacman.
    Pacman,
    /// apk.
    Apk,
}

/// The names that `backend =` takes, for messages.
const NAMES: &str = "\"apt\", \"dnf\", \"yum\", \"zypper\", \"pacman\" and \"apk\"";

/// Systems that are updated as a whole, by their `ID`, and by what.
const IMAGES: [(&str, &str); 12] = [
    ("bottlerocket", "apiclient update"),
    ("flatcar", "update_engine_client -update"),
    ("nixos", "nixos-rebuild switch --upgrade"),
    ("opensuse-aeon", "transactional-update"),
    ("opensuse-kalpa", "transactional-update"),
    ("opensuse-leap-micro", "transactional-update"),
    ("opensuse-microos", "transactional-update"),
    ("sl-micro", "transactional-update"),
    ("sle-micro", "transactional-update"),
    ("steamos", "steamos-update"),
    ("suse-microos", "transactional-update"),
    ("ubuntu-core", "snap refresh"),
];

/// The backend for a host: the configured one, or the one of its distribution. The error says what to do.
pub fn choose(configured: Option<&str>, facts: &HostFacts) -> Result<Backend> {
    let os = OsRelease::parse(&facts.os_release);
    if let Some(name) = configured {
        let Some(family) = Family::named(name) else {
            bail!("backend = \"{name}\" is not known; the names are {NAMES}");
        };
        return family.backend(facts).ok_or_else(|| {
            anyhow::anyhow!(
                "backend = \"{name}\" is configured, but {} is not installed",
                family.tools()
            )
        });
    }
    if let Some(tool) = image(&os, facts) {
        bail!(
            "{} is updated as a whole, and not package by package, which is not supported here; \
             what updates it is '{tool}'",
            os.name
        );
    }
    let Some(family) = os.ids().find_map(Family::of) else {
        bail!(
            "the package manager of this host ({}, ID={}) is not known; \
             set backend = to one of {NAMES} in the configuration",
            os.name,
            os.id
        );
    };
    family.backend(facts).ok_or_else(|| {
        anyhow::anyhow!(
            "this host is {}, but {} is not installed; if it has another package manager, \
             set backend = to one of {NAMES} in the configuration",
            os.name,
            family.tools()
        )
    })
}

/// The tool that updates the host as a whole, if it is such a host.
fn image(os: &OsRelease, facts: &HostFacts) -> Option<&'static str> {
    let has = |tool: &str| facts.tools.contains_key(tool);
    if facts.ostree {
        return Some(match (has("bootc"), has("rpm-ostree")) {
            (true, _) => "bootc upgrade",
            (false, true) => "rpm-ostree upgrade",
            (false, false) => "ostree admin upgrade",
        });
    }
    if has("transactional-update") && facts.read_only {
        return Some("transactional-update");
    }
    if has("abroot") {
        return Some("abroot upgrade");
    }
    // a package manager in an image is left over from its build
    if facts.sysupdate && os.image.is_some() {
        return Some("systemd-sysupdate");
    }
    let mut ids = os.ids();
    ids.find_map(|id| IMAGES.iter().find(|(image, _)| *image == id))
        .map(|(_, tool)| *tool)
}

/// Distributions that share their package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Debian,
    RedHat,
    Yum,
    Suse,
    Arch,
    Alpine,
}

impl Family {
    /// By an `ID` or an entry of `ID_LIKE`.
    fn of(id: &str) -> Option<Self> {
        Some(match id {
            "debian" | "ubuntu" => Self::Debian,
            "fedora" | "rhel" | "centos" | "openEuler" | "mageia" => Self::RedHat,
            "suse" | "opensuse" | "sles" | "sled" => Self::Suse,
            "arch" => Self::Arch,
            "alpine" => Self::Alpine,
            _ => return None,
        })
    }

    /// By a value of `backend =`.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "apt" => Self::Debian,
            "dnf" => Self::RedHat,
            "yum" => Self::Yum,
            "zypper" => Self::Suse,
            "pacman" => Self::Arch,
            "apk" => Self::Alpine,
            _ => return None,
        })
    }

    /// Its tool, for messages.
    fn tools(self) -> &'static str {
        match self {
            Self::Debian => "apt-get",
            Self::RedHat => "dnf",
            Self::Yum => "yum",
            Self::Suse => "zypper",
            Self::Arch => "pacman",
            Self::Alpine => "apk",
        }
    }

    fn backend(self, facts: &HostFacts) -> Option<Backend> {
        let has = |tool: &str, backend| facts.tools.contains_key(tool).then_some(backend);
        match self {
            Self::Debian => has("apt-get", Backend::Apt),
            // dnf may have been added to EL 7; its own is yum
            Self::RedHat if facts.leads_to("yum", "yum") => Some(Backend::Yum),
            Self::RedHat if facts.leads_to("dnf", "dnf5") => Some(Backend::Dnf5),
            Self::RedHat => has("dnf", Backend::Dnf).or_else(|| has("dnf5", Backend::Dnf5)),
            Self::Yum if facts.leads_to("yum", "dnf5") => Some(Backend::Dnf5),
            Self::Yum if facts.leads_to("yum", "yum") => Some(Backend::Yum),
            Self::Yum => has("yum", Backend::Dnf),
            Self::Suse => has("zypper", Backend::Zypper),
            Self::Arch => has("pacman", Backend::Pacman),
            Self::Alpine => has("apk", Backend::Apk),
        }
    }
}

/// The package manager of this host: the configured one, or that of its distribution.
pub fn detect(config: &Config, scratch: &Path) -> Result<Box<dyn PackageManager>> {
    let facts = HostFacts::gather();
    Ok(match choose(config.backend.as_deref(), &facts)? {
        Backend::Apt => Box::new(Apt::new(scratch)),
        Backend::Pacman => Box::new(Pacman::new(scratch)),
        Backend::Dnf => Box::new(Dnf::new(Variant::Dnf4, scratch)),
        Backend::Dnf5 => Box::new(Dnf::new(Variant::Dnf5, scratch)),
        Backend::Zypper => Box::new(Zypper::default()),
        Backend::Yum => Box::new(Dnf::new(Variant::Yum, scratch)),
        Backend::Apk => {
            let program = facts.tools.get("apk").map(PathBuf::as_path);
            Box::new(Apk::new(program.unwrap_or(Path::new("/sbin/apk"))))
        }
    })
}

/// The database files of every package manager, for a host of which the package manager is not known.
#[must_use]
pub fn all_database_files() -> Vec<&'static str> {
    let files: [&[&str]; 4] = [
        &apt::DATABASE_FILES,
        &rpm::DATABASE_FILES,
        &pacman::DATABASE_FILES,
        &apk::DATABASE_FILES,
    ];
    files.concat()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::package::host_facts::PLACES;

    /// The os-release of a real system, and tools as `name` or `name>what it leads to`.
    fn facts(system: &str, tools: &str) -> HostFacts {
        let tool = |word: &str| {
            let (name, target) = word.split_once('>').unwrap_or((word, word));
            let (known, _) = PLACES.iter().find(|(known, _)| *known == name).unwrap();
            (*known, Path::new("/usr/bin").join(target))
        };
        HostFacts {
            os_release: fs::read_to_string(format!("tests/fuzz/corpus/os_release/{system}"))
                .unwrap(),
            tools: tools
                .split(' ')
                .filter(|t| !t.is_empty())
                .map(tool)
                .collect(),
            ..HostFacts::default()
        }
    }

    #[test]
    fn every_distribution_has_its_own() {
        use Backend::{Apk, Apt, Dnf, Dnf5, Pacman, Yum, Zypper};
        let dnf4 = "dnf>dnf-3 yum>dnf-3";
        let dnf5 = "dnf>dnf5 dnf5 yum>dnf5";
        for (systems, tools, backend) in [
            (
                "debian_12 debian_13 ubuntu_22.04 ubuntu_24.04",
                "apt-get",
                Apt,
            ),
            ("linuxmint_22 raspbian_11 kali", "apt-get", Apt),
            ("debian_13", "apt-get dnf>dnf-3 zypper pacman yum", Apt),
            (
                "fedora_40 rhel_8 rhel_9 almalinux_8 almalinux_9 rocky_8 rocky_9",
                dnf4,
                Dnf,
            ),
            (
                "centos_stream_8 centos_stream_9 oracle_8 oracle_9 amazon_2023",
                dnf4,
                Dnf,
            ),
            (
                "rhel_10 almalinux_10 rocky_10 centos_stream_10 oracle_10",
                dnf4,
                Dnf,
            ),
            ("nobara openeuler", dnf4, Dnf),
            // dnf5 may be added to a system whose dnf is 4
            ("fedora_40", "dnf>dnf-3 dnf5 yum>dnf-3", Dnf),
            ("fedora_41 fedora_42", dnf5, Dnf5),
            ("fedora_42", "dnf5", Dnf5),
            ("rhel_7 centos_7 oracle_7 amazon_2", "yum", Yum),
            ("centos_7", "yum dnf>dnf-2", Yum),
            (
                "leap_15 leap_16 tumbleweed sles_12 sles_15 sles_16",
                "zypper",
                Zypper,
            ),
            ("leap_15", "zypper dnf>dnf-3", Zypper),
            ("arch manjaro endeavouros", "pacman", Pacman),
            ("postmarketos postmarketos_24.12 alpine_3.22", "apk", Apk),
        ] {
            for system in systems.split(' ') {
                assert_eq!(
                    choose(None, &facts(system, tools)).unwrap(),
                    backend,
                    "{system}"
                );
            }
        }
    }

    #[test]
    fn the_configuration_overrides_the_distribution() {
        let chosen = |name, tools| choose(Some(name), &facts("debian_13", tools));
        for (name, tools, backend) in [
            ("pacman", "apt-get pacman", Backend::Pacman),
            ("dnf", "apt-get dnf>dnf-3", Backend::Dnf),
            ("dnf", "apt-get dnf>dnf5 dnf5", Backend::Dnf5),
            ("dnf", "apt-get dnf5", Backend::Dnf5),
            ("yum", "yum>dnf-3 dnf>dnf-3", Backend::Dnf),
            ("yum", "yum>dnf5 dnf>dnf5 dnf5", Backend::Dnf5),
            ("yum", "yum dnf>dnf-3", Backend::Yum),
            ("zypper", "zypper", Backend::Zypper),
            ("apk", "apk", Backend::Apk),
            ("apt", "apt-get", Backend::Apt),
        ] {
            assert_eq!(chosen(name, tools).unwrap(), backend, "{name} of {tools}");
        }
        assert_eq!(
            chosen("zypper", "apt-get").unwrap_err().to_string(),
            "backend = \"zypper\" is configured, but zypper is not installed"
        );
        let error = chosen("portage", "apt-get").unwrap_err().to_string();
        assert!(
            error.contains("\"portage\" is not known") && error.contains("\"apk\""),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_system_is_told_what_to_set() {
        for (system, tools) in [
            ("gentoo", ""),
            ("empty", "apt-get dnf>dnf-3"),
            ("debian_13", "pacman"),
        ] {
            let error = choose(None, &facts(system, tools)).unwrap_err().to_string();
            assert!(
                error.contains("backend =") && error.contains("\"zypper\""),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_updated_as_a_whole_is_refused_with_the_name_of_its_tool() {
        let told = |facts: &HostFacts| choose(None, facts).unwrap_err().to_string();
        for (system, tools, tool) in [
            (
                "silverblue_40",
                "dnf>dnf-3 rpm-ostree",
                "rpm-ostree upgrade",
            ),
            ("coreos_40", "rpm-ostree", "rpm-ostree upgrade"),
            ("rhel_9", "dnf>dnf-3 rpm-ostree bootc", "bootc upgrade"),
            ("debian_13", "apt-get", "ostree admin upgrade"),
        ] {
            let facts = HostFacts {
                ostree: true,
                ..facts(system, tools)
            };
            assert!(
                told(&facts).contains(&format!("'{tool}'")),
                "{}",
                told(&facts)
            );
        }
        for (system, tool) in [
            ("opensuse_microos", "transactional-update"),
            ("suse_microos", "transactional-update"),
            ("nixos", "nixos-rebuild switch --upgrade"),
            ("steamos", "steamos-update"),
            ("flatcar", "update_engine_client -update"),
        ] {
            let error = told(&facts(system, "zypper pacman"));
            assert!(error.contains(&format!("'{tool}'")), "{error}");
        }
        let server = facts("tumbleweed", "zypper transactional-update");
        assert_eq!(choose(None, &server).unwrap(), Backend::Zypper);
        let transactional = HostFacts {
            read_only: true,
            ..server
        };
        assert!(told(&transactional).contains("'transactional-update'"));
        let os_release = "ID=debian\nIMAGE_ID=appliance\n".to_owned();
        let image = HostFacts {
            os_release,
            sysupdate: true,
            ..facts("debian_13", "apt-get")
        };
        assert!(told(&image).contains("'systemd-sysupdate'"));
        let package_based = HostFacts {
            sysupdate: true,
            ..facts("debian_13", "apt-get")
        };
        assert_eq!(choose(None, &package_based).unwrap(), Backend::Apt);
    }
}
