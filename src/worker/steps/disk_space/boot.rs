//! What a kernel needs in /boot besides what is in its package.

use std::fs;
use std::path::{Path, PathBuf};

use crate::package::{Change, Footprint, PackageManager, SpaceNeeds};
use crate::worker::steps::disk_space::floors::MIB;

/// What the image of a kernel takes where no other is there to be measured.
const IMAGE: u64 = 16 * MIB;

/// What an initrd takes where no other is there to be measured: Debian's with most modules.
const INITRD: u64 = 96 * MIB;

/// The programs that make an initrd. Where none of them is installed, and no initrd is there, none will be.
const MAKERS: [&str; 3] = [
    "/usr/sbin/update-initramfs",
    "/usr/bin/dracut",
    "/usr/bin/mkinitcpio",
];

/// What each change brings there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brings {
    Nothing,
    /// A new initrd in the place of the former one.
    Initrd,
    Kernel,
}

/// What the changes need there.
pub struct Boot {
    changes: Vec<Brings>,
    image: u64,
    initrd: u64,
}

impl Boot {
    /// Tells kernels from other packages, and measures those that are there.
    pub fn read(
        packages: &dyn PackageManager,
        changes: &[Change],
        footprints: &[Footprint],
    ) -> Self {
        let files = fs::read_dir("/boot").map_or(Vec::new(), sizes);
        let largest = |prefix: &str| {
            let matching = files.iter().filter(|(name, _)| name.starts_with(prefix));
            matching.map(|(_, size)| *size).max()
        };
        let made = MAKERS.iter().any(|maker| Path::new(maker).exists());
        let needs = packages.space_needs();
        let is_kernel = |change: &Change, footprint: Option<&Footprint>| {
            let is_large = footprint
                .zip(needs.kernel_size)
                .is_some_and(|(footprint, size)| footprint.new >= size);
            is_large || brings_kernel(&packages.files(change).unwrap_or_default())
        };
        let mut brings: Vec<Brings> = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            brings.push(of(&needs, &change.package, &|| {
                is_kernel(change, footprints.get(index))
            }));
        }
        Self {
            changes: brings,
            image: largest("vmlinuz").unwrap_or(IMAGE),
            initrd: largest("initr").unwrap_or(if made { INITRD } else { 0 }),
        }
    }

    /// An estimate of what each change brings.
    pub fn per_change(&self) -> Vec<u64> {
        let bytes = |brings: &Brings| match brings {
            Brings::Nothing => 0,
            Brings::Initrd => self.initrd,
            Brings::Kernel => self.image + self.initrd,
        };
        self.changes.iter().map(bytes).collect()
    }

    /// What of an estimate is not among the `counted` bytes of the package itself: the initrd, and the image
    /// where the package has none there, because a script copies it (kernel-install) or it is not known.
    pub fn beyond(&self, index: usize, counted: u64, estimate: u64) -> u64 {
        if counted > 0 && self.changes.get(index) == Some(&Brings::Kernel) && estimate > 0 {
            self.initrd
        } else {
            estimate
        }
    }
}

/// What a package brings, by its name, and by its files where that may be the name of a metapackage. pacman's
/// kernels have none: they replace their image and their initrd in place. Pure.
fn of(needs: &SpaceNeeds, package: &str, is_kernel: &dyn Fn() -> bool) -> Brings {
    const MAKERS: [&str; 3] = ["initramfs-tools", "dracut", "mkinitcpio"];
    if (needs.is_kernel)(package) && is_kernel() {
        Brings::Kernel
    } else if MAKERS.iter().any(|prefix| package.starts_with(prefix)) {
        Brings::Initrd
    } else {
        Brings::Nothing
    }
}

/// Whether a package has the name of one that brings something to /boot.
pub fn is_named(packages: &dyn PackageManager, package: &str) -> bool {
    of(&packages.space_needs(), package, &|| true) != Brings::Nothing
}

/// Whether there is the image of a kernel among the files of a package; where they are not known, there may be:
/// pure.
fn brings_kernel(files: &[PathBuf]) -> bool {
    let is_image = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz") || name.starts_with("vmlinux") || name == "Image"
    };
    files.is_empty() || files.iter().any(is_image)
}

/// Names and sizes of the files of a directory.
fn sizes(entries: fs::ReadDir) -> Vec<(String, u64)> {
    let size = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, entry.metadata().ok()?.len()))
    };
    entries.flatten().filter_map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_from_what_has_their_names() {
        let needs = SpaceNeeds {
            is_kernel: |package| package == "kernel-core",
            ..SpaceNeeds::default()
        };
        assert_eq!(of(&needs, "kernel-core", &|| true), Brings::Kernel);
        assert_eq!(of(&needs, "kernel-core", &|| false), Brings::Nothing);
        assert_eq!(of(&needs, "dracut", &|| false), Brings::Initrd);
        assert_eq!(of(&needs, "kernel-devel", &|| true), Brings::Nothing);
        let with = |file: &str| [PathBuf::from("/usr/share/doc/x"), PathBuf::from(file)];
        assert!(brings_kernel(&with("/boot/vmlinuz-6.2")) && brings_kernel(&[]));
        assert!(brings_kernel(&with("/lib/modules/6.2/vmlinuz")));
        assert!(!brings_kernel(&with("/usr/share/doc/x/copyright")));
    }

    #[test]
    fn an_image_is_counted_once() {
        let boot = Boot {
            changes: vec![Brings::Kernel, Brings::Initrd, Brings::Nothing],
            image: 10,
            initrd: 40,
        };
        assert_eq!(boot.per_change(), [50, 40, 0]);
        assert_eq!(boot.beyond(0, 12, 50), 40);
        assert_eq!(boot.beyond(0, 0, 50), 50);
        assert_eq!(boot.beyond(0, 0, 0), 0, "on another file system");
        assert_eq!(boot.beyond(2, 7, 0), 0);
    }
}
