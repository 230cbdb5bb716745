//! Free space: too little of it is found before anything changes, not by dpkg in the middle of its work.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::package::{Change, PackageManager};

const MIB: u64 = 1024 * 1024;

/// What must be free before anything is fetched: enough for the databases and logs that any update writes.
const FLOORS: [(&str, u64); 4] = [
    ("/", 16 * MIB),
    ("/var/cache/apt/archives", 4 * MIB),
    ("/var/lib/dpkg", 16 * MIB),
    ("/var/log", 4 * MIB),
];

/// What a kernel needs in /boot where no other is there to be measured: Debian's image, its map and an
/// initrd with most modules.
const KERNEL: u64 = 128 * MIB;

/// Where something is needed, and how many bytes.
type Needs = Vec<(&'static str, u64)>;

/// An error when not even the least is free.
pub fn check_floors() -> Result<()> {
    check(&FLOORS, &look)
}

/// An error when the changes would not find the room they need.
pub fn check_changes(packages: &dyn PackageManager, changes: &[Change]) -> Result<()> {
    let mut needs: Needs = vec![("/usr", packages.growth(changes)?)];
    let is_kernel = |change: &Change| brings_kernel(&packages.files(change).unwrap_or_default());
    needs.extend(boot(
        changes,
        &is_kernel,
        &fs::read_dir("/boot").map_or(Vec::new(), sizes),
    ));
    needs.extend(FLOORS);
    check(&needs, &look)
}

/// Names and sizes of the files of a directory.
fn sizes(entries: fs::ReadDir) -> Vec<(String, u64)> {
    let size = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        Some((name, entry.metadata().ok()?.len()))
    };
    entries.flatten().filter_map(size).collect()
}

/// What /boot needs: a kernel for each that is new or changed, with an initrd as large as the largest that
/// is there, or one initrd more where only what makes it is changed. Pure.
fn boot(
    changes: &[Change],
    is_kernel: &dyn Fn(&Change) -> bool,
    files: &[(String, u64)],
) -> Option<(&'static str, u64)> {
    let largest = |prefix: &str| {
        let matching = files.iter().filter(|(name, _)| name.starts_with(prefix));
        matching.map(|(_, size)| *size).max()
    };
    let initrd = largest("initr");
    let kernel = match (largest("vmlinuz"), initrd) {
        (Some(image), Some(initrd)) => image + initrd + 16 * MIB,
        _ => KERNEL,
    };
    let named = |prefixes: &[&str]| {
        let named = move |change: &&Change| prefixes.iter().any(|p| change.package.starts_with(p));
        changes.iter().filter(named).collect::<Vec<_>>()
    };
    // a metapackage has such a name as well, and brings no image
    let images = named(&[
        "linux-image-",
        "kernel-core",
        "kernel-default",
        "kernel-uek-core",
    ]);
    let kernels = images.into_iter().filter(|c| is_kernel(c)).count() as u64;
    let need = if kernels > 0 {
        kernels * kernel
    } else if named(&["initramfs-tools", "dracut", "mkinitcpio"]).is_empty() {
        0
    } else {
        initrd.unwrap_or(0)
    };
    (need > 0).then_some(("/boot", need))
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

/// The file system of a path, and how much is free there; none where there is no such path.
fn look(path: &str) -> Option<(u64, u64)> {
    let device = fs::metadata(Path::new(path)).ok()?.dev();
    let stat = rustix::fs::statvfs(path).ok()?;
    Some((device, stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Holds the needs against what is free: those on one file system add up. Pure but for `look`.
fn check(needs: &[(&'static str, u64)], look: &dyn Fn(&str) -> Option<(u64, u64)>) -> Result<()> {
    let mut systems: BTreeMap<u64, (&str, u64, u64)> = BTreeMap::new();
    for (path, need) in needs {
        let Some((device, free)) = look(path) else {
            continue;
        };
        let system = systems.entry(device).or_insert((path, 0, free));
        system.1 = system.1.saturating_add(*need);
    }
    for (path, need, free) in systems.values() {
        if need > free {
            bail!(
                "needs {} on {path}, {} are free; free space there and try again",
                shown(*need),
                shown(*free)
            );
        }
    }
    Ok(())
}

fn shown(bytes: u64) -> String {
    if bytes < 10 * MIB {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(package: &str) -> Change {
        Change {
            package: package.into(),
            architecture: "amd64".into(),
            from: None,
            to: Some("2".into()),
            file: None,
            ..Change::default()
        }
    }

    #[test]
    fn needs_on_one_file_system_add_up() {
        let look = |path: &str| match path {
            "/boot" => Some((2, 40 * MIB)),
            "/gone" => None,
            _ => Some((1, 100 * MIB)),
        };
        assert!(check(&[("/usr", 60 * MIB), ("/var", 40 * MIB)], &look).is_ok());
        assert!(check(&[("/gone", 600 * MIB), ("/boot", 40 * MIB)], &look).is_ok());
        let error = check(&[("/usr", 61 * MIB), ("/var", 40 * MIB)], &look).unwrap_err();
        assert_eq!(
            error.to_string(),
            "needs 101 MiB on /usr, 100 MiB are free; free space there and try again"
        );
        assert!(check(&[("/boot", 41 * MIB)], &look).is_err());
    }

    #[test]
    fn a_kernel_needs_what_the_largest_has() {
        let files = [
            ("vmlinuz-6.1".to_owned(), 8 * MIB),
            ("initrd.img-6.1".to_owned(), 40 * MIB),
            ("initrd.img-6.0".to_owned(), 30 * MIB),
        ];
        let need = |names: &[&str], files: &[(String, u64)]| {
            let changes: Vec<Change> = names.iter().map(|name| change(name)).collect();
            boot(&changes, &|c| !c.package.ends_with("-amd64"), files).map(|(_, need)| need / MIB)
        };
        assert_eq!(need(&["demo"], &files), None);
        assert_eq!(need(&["linux-image-6.2", "demo"], &files), Some(64));
        assert_eq!(need(&["linux-image-6.2"], &[]), Some(128));
        assert_eq!(
            need(&["linux-image-6.2", "linux-image-amd64"], &[]),
            Some(128)
        );
        let with = |file: &str| [PathBuf::from("/usr/share/doc/x"), PathBuf::from(file)];
        assert!(brings_kernel(&with("/boot/vmlinuz-6.2")) && brings_kernel(&[]));
        assert!(brings_kernel(&with("/lib/modules/6.2/vmlinuz")));
        assert!(!brings_kernel(&with("/usr/share/doc/x/copyright")));
        assert_eq!(need(&["initramfs-tools-core"], &files), Some(40));
        assert_eq!(need(&["initramfs-tools-core"], &[]), None);
    }
}
