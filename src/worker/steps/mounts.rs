//! File systems that an update needs and cannot use: mounted read-only where packages have files, or `noexec` where
//! their scripts are run from. Found before anything changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::StatVfsMountFlags;

use crate::package::{Change, PackageManager};

/// Where packages have their files (hier(7)); what is mounted elsewhere is no business of theirs.
const PLACES: [&str; 10] = [
    "/usr", "/etc", "/boot", "/var", "/opt", "/srv", "/bin", "/lib", "/lib64", "/sbin",
];

/// An error when the changes could not be made where they belong, with what to do about it. Asked by the gate:
/// hooks that remount file systems (`DPkg::Pre-Invoke`) have run by then.
pub fn check(packages: &dyn PackageManager, changes: &[Change]) -> Result<()> {
    if let Some(place) = packages
        .runs_scripts_from()
        .filter(|place| is_noexec(place))
    {
        let mount = of(place, &mounts()?);
        bail!(
            "{} is mounted noexec, and {} runs the scripts of packages from {}: allow it (mount -o remount,exec \
             {}) and try again",
            mount.display(),
            packages.name(),
            place.display(),
            mount.display()
        );
    }
    let mounts = mounts()?;
    if !mounts
        .iter()
        .any(|mount| is_relevant(mount) && is_read_only(mount))
    {
        return Ok(());
    }
    for change in changes {
        for file in files(packages, change)? {
            let file = resolved(&file);
            // a directory that is there is not made again
            if fs::symlink_metadata(&file).is_ok_and(|found| found.is_dir()) {
                continue;
            }
            let mount = of(&file, &mounts);
            ensure!(
                !is_read_only(&mount),
                "{} is mounted read-only, and {} has files there: make it writable (mount -o remount,rw {}) and try \
                 again",
                mount.display(),
                change.package,
                mount.display()
            );
        }
    }
    Ok(())
}

/// What the change writes: the files that the package has, and those of the new version where it is new. One
/// that tells neither has files below /usr, as all packages do.
fn files(packages: &dyn PackageManager, change: &Change) -> Result<Vec<PathBuf>> {
    let files = packages.files(change)?;
    Ok(if files.is_empty() {
        vec![
            Path::new("/usr/share/doc")
                .join(&change.package)
                .join("copyright"),
        ]
    } else {
        files
    })
}

/// Where nothing that lies there can be run.
pub fn is_noexec(path: &Path) -> bool {
    flags(path).contains(StatVfsMountFlags::NOEXEC)
}

fn is_read_only(path: &Path) -> bool {
    flags(path).contains(StatVfsMountFlags::RDONLY)
}

fn flags(path: &Path) -> StatVfsMountFlags {
    rustix::fs::statvfs(path).map_or(StatVfsMountFlags::empty(), |stat| stat.f_flag)
}

/// The mount point of the file system that a path is on.
pub fn mount_of(path: &Path) -> PathBuf {
    of(path, &mounts().unwrap_or_default())
}

/// Every mount point.
pub fn mounts() -> Result<Vec<PathBuf>> {
    Ok(points(&table()?))
}

/// The mount points where packages may have files and that the host can look at by itself.
pub fn local() -> Result<Vec<PathBuf>> {
    let table = table()?;
    let near: Vec<&str> = table.lines().filter(|line| !is_foreign(line)).collect();
    let mut points = points(&near.join("\n"));
    points.retain(|point| is_relevant(point));
    Ok(points)
}

fn table() -> Result<String> {
    let table = "/proc/self/mountinfo";
    fs::read_to_string(table).with_context(|| format!("failed to read '{table}'"))
}

/// Whether what a line of the table mounts lies on another host, is answered by a program, or keeps no owners of
/// files, as packages need them; in /boot kernels are copied there all the same: pure.
fn is_foreign(line: &str) -> bool {
    let types = [
        "nfs",
        "cifs",
        "smb",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "fuse",
        "autofs",
    ];
    let kind = line.split_once(" - ").map_or("", |(_, rest)| rest);
    let is_boot = line.split(' ').nth(4) == Some("/boot");
    types.iter().any(|foreign| kind.starts_with(foreign)) || kind.starts_with("vfat") && !is_boot
}

/// The mount points of a table as `proc_pid_mountinfo(5)` describes it: pure.
fn points(text: &str) -> Vec<PathBuf> {
    let point = |line: &str| {
        let field = line.split(' ').nth(4)?;
        let field = field.replace("\\040", " ").replace("\\011", "\t");
        Some(PathBuf::from(field.replace("\\134", "\\")))
    };
    text.lines().filter_map(point).collect()
}

/// The deepest of the mount points that a path lies below: pure.
pub fn of(path: &Path, mounts: &[PathBuf]) -> PathBuf {
    let mut above = mounts.iter().filter(|mount| path.starts_with(mount));
    let first = above.next().cloned().unwrap_or_else(|| "/".into());
    above.fold(first, |deepest, mount| {
        if mount.starts_with(&deepest) {
            mount.clone()
        } else {
            deepest
        }
    })
}

fn is_relevant(mount: &Path) -> bool {
    mount == Path::new("/") || PLACES.iter().any(|place| mount.starts_with(place))
}

/// `/lib/x` as `/usr/lib/x` where the one is a link to the other.
fn resolved(file: &Path) -> PathBuf {
    let mut parts = file.components();
    let (Some(root), Some(top)) = (parts.next(), parts.next()) else {
        return file.to_owned();
    };
    let top = Path::new(&root).join(top);
    fs::canonicalize(&top).unwrap_or(top).join(parts.as_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_point_is_the_one_of_a_file() {
        let table = "22 1 0:20 / / rw - ext4 /dev/a rw\n\
            23 22 0:21 / /usr ro - ext4 /dev/b ro\n\
            24 23 0:22 / /usr/share/a\\040b rw - tmpfs tmpfs rw\n";
        let mounts = points(table);
        let of = |path: &str| of(Path::new(path), &mounts).display().to_string();
        assert_eq!(of("/etc/x"), "/");
        assert_eq!(of("/usr/share/x"), "/usr");
        assert_eq!(of("/usr/share/a b/x"), "/usr/share/a b");
        assert_eq!(of("/usrx"), "/");
        assert!(is_relevant(Path::new("/")) && is_relevant(Path::new("/boot/efi")));
        let efi = |at: &str| is_foreign(&format!("1 2 0:3 / {at} rw - vfat /dev/c rw"));
        assert!(efi("/boot/efi") && !efi("/boot") && !is_foreign(table));
        assert!(is_foreign("1 2 0:3 / /srv rw - nfs4 a:/b rw"));
        assert!(!is_relevant(Path::new("/snap/core/1")) && !is_relevant(Path::new("/usrx")));
    }
}
