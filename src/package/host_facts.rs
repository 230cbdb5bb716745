//! What a host says of itself, and which tools of package managers it has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::sorted::InOrder;

/// Where each tool that is looked for may lie.
pub(super) const PLACES: [(&str, &[&str]); 11] = [
    ("abroot", &["/usr/bin/abroot"]),
    ("apk", &["/usr/bin/apk", "/usr/sbin/apk", "/sbin/apk"]),
    ("apt-get", &["/usr/bin/apt-get"]),
    ("bootc", &["/usr/bin/bootc"]),
    ("dnf", &["/usr/bin/dnf"]),
    ("dnf5", &["/usr/bin/dnf5"]),
    ("pacman", &["/usr/bin/pacman"]),
    ("rpm-ostree", &["/usr/bin/rpm-ostree"]),
    (
        "transactional-update",
        &[
            "/usr/sbin/transactional-update",
            "/usr/bin/transactional-update",
        ],
    ),
    ("yum", &["/usr/bin/yum"]),
    ("zypper", &["/usr/bin/zypper"]),
];

/// The tools that are there, each with the file it leads to: `dnf` is a link to `dnf-3` or `dnf5`.
pub type Tools = BTreeMap<&'static str, PathBuf>;

/// What a decision needs to know of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The text of os-release(5).
    pub os_release: String,
    /// The tools that are there.
    pub tools: Tools,
    /// Whether it was booted from an ostree deployment.
    pub ostree: bool,
    /// Whether its root file system is meant to be read-only.
    pub read_only: bool,
    /// Whether systemd-sysupdate has definitions of what to update.
    pub sysupdate: bool,
}

impl HostFacts {
    /// Reads a few files of this host; runs no program.
    #[must_use]
    pub fn gather() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let os_release = match text("/etc/os-release") {
            empty if empty.is_empty() => text("/usr/lib/os-release"),
            text => text,
        };
        let found = |(name, places): &(&'static str, &[&str])| {
            let path = places
                .iter()
                .find_map(|place| fs::canonicalize(place).ok())?;
            Some((*name, path))
        };
        Self {
            os_release,
            tools: PLACES.iter().filter_map(found).in_order(),
            // ostree-prepare-root(1) leaves it
            ostree: Path::new("/run/ostree-booted").exists(),
            read_only: is_root_read_only(&text("/etc/fstab")),
            sysupdate: fs::read_dir("/usr/lib/sysupdate.d")
                .is_ok_and(|mut entries| entries.next().is_some()),
        }
    }

    /// Whether a tool is a link to a file of this name.
    pub(super) fn leads_to(&self, tool: &str, name: &str) -> bool {
        let file = self.tools.get(tool).and_then(|path| path.file_name());
        file.is_some_and(|file| file == name)
    }
}

/// Whether fstab(5) mounts the root read-only. The mounts themselves do not show it: the sandbox of the worker makes
/// every file system read-only.
fn is_root_read_only(fstab: &str) -> bool {
    fstab.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [device, "/", _, options, ..]
            if !device.starts_with('#') && options.split(',').any(|option| option == "ro"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_fstab_is_found() {
        let fstab = "# x\nUUID=1 /home btrfs ro 0 0\nUUID=1 / btrfs ro,noatime 0 0\n";
        assert!(is_root_read_only(fstab));
        assert!(!is_root_read_only("UUID=1 / ext4 errors=remount-ro 0 1\n"));
        assert!(!is_root_read_only("#UUID=1 / ext4 ro 0 1\n"));
        assert!(!is_root_read_only(""));
    }
}
