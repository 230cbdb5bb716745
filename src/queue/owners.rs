//! Who owns the directories of the records, and who may write to them: as tmpfiles.d says, made so again where an
//! administrator, or a restored backup, has made them again.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};

use crate::paths::{Paths, quoted};

/// The account of the front ends, and its group.
const GROUP: &str = "linux-patch";

/// Sets owner, group and mode of each directory, and the group of the records in it, where they are others than
/// they have to be. What this process may not do is left for one that may; a host without the group has no front ends.
pub fn mend(paths: &Paths) {
    let Some(group) = group(paths) else { return };
    for (directory, mode, shared) in table(paths) {
        let gid = if shared { group } else { 0 };
        match mend_one(&directory, mode, gid) {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                "{} had another owner or mode, and has its own again",
                quoted(&directory)
            ),
            Err(error) => tracing::debug!("{}: {error}", quoted(&directory)),
        }
    }
}

/// Whether all of them are as they have to be, as far as can be seen.
#[must_use]
pub fn are_right(paths: &Paths) -> bool {
    let Some(group) = group(paths) else {
        return true;
    };
    table(paths).iter().all(|(directory, mode, shared)| {
        let gid = if *shared { group } else { 0 };
        let is = directory.symlink_metadata();
        is.is_ok_and(|is| is_so(&is, *mode, gid))
    })
}

fn is_so(is: &fs::Metadata, mode: u32, gid: u32) -> bool {
    (is.uid(), is.gid(), is.mode() & 0o7777) == (0, gid, mode)
}

/// Each directory with its mode, and whether its group is that of the front ends: the same as in
/// units/tmpfiles.d/linux-patch-api.conf. The parent is the first.
fn table(paths: &Paths) -> [(PathBuf, u32, bool); 13] {
    [
        (paths.lib(), 0o755, false),
        (paths.run(), 0o755, false),
        (paths.findings(), 0o755, false),
        (paths.state(), 0o755, false),
        (paths.packages(), 0o755, false),
        (paths.refused(), 0o700, false),
        (paths.jobs(), 0o2750, true),
        (paths.conflicts(), 0o2750, true),
        (paths.deferred(), 0o2750, true),
        (paths.queue(), 0o2770, true),
        (paths.tmp(), 0o2770, true),
        (paths.inquiries(), 0o2770, true),
        (paths.keys(), 0o2770, true),
    ]
}

/// Whether something had to be changed. Nothing is followed: where the parent belonged to another user, a link may lie
/// in the place of a directory.
fn mend_one(path: &Path, mode: u32, gid: u32) -> std::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = File::from(open(path, flags, Mode::empty())?);
    let is = directory.metadata()?;
    if is_so(&is, mode, gid) {
        return Ok(false);
    }
    // first what a refresh may not do (RestrictSUIDSGID=): it then changes nothing, and another worker all of it
    directory.set_permissions(fs::Permissions::from_mode(mode))?;
    fchown(&directory, Some(Uid::ROOT), Some(Gid::from_raw(gid)))?;
    if mode & 0o2000 != 0 {
        mend_files(path, gid);
    }
    Ok(true)
}

/// Gives the files of a directory its group, as they would have had it from the beginning.
fn mend_files(directory: &Path, gid: u32) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(file) = open(entry.path(), flags, Mode::empty()).map(File::from) else {
            continue;
        };
        // another name of the same file may belong to any user
        let is_ours = |m: &fs::Metadata| m.is_file() && m.nlink() == 1;
        if file.metadata().is_ok_and(|m| is_ours(&m)) {
            let _ = fchown(&file, None, Some(Gid::from_raw(gid)));
        }
    }
}

/// The number of the group, as sysusers.d(5) has made it.
fn group(paths: &Paths) -> Option<u32> {
    let groups = fs::read_to_string(paths.host("/etc/group")).ok()?;
    number(&groups)
}

/// The same, from the text of group(5): pure.
fn number(groups: &str) -> Option<u32> {
    let ours = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(GROUP)).then(|| fields.nth(1))
    });
    ours??.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found() {
        let groups = "root:x:0:\nlinux-patch-x:x:5:\nlinux-patch:x:987:a,b\n";
        assert_eq!(number(groups), Some(987));
        assert_eq!(number("root:x:0:\n"), None);
    }

    #[test]
    fn the_table_is_that_of_tmpfiles() {
        let conf = include_str!("../../units/tmpfiles.d/linux-patch-api.conf");
        let lines = conf.lines().filter(|line| line.starts_with("d "));
        let told: Vec<(String, u32, bool)> = lines
            .map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let mode = u32::from_str_radix(fields[2], 8).unwrap();
                assert_eq!(fields[3], "root");
                (fields[1].to_owned(), mode, fields[4] == GROUP)
            })
            .collect();
        let ours = table(&Paths::default());
        assert_eq!(told.len(), ours.len());
        for (path, mode, shared) in ours {
            let path = path.display().to_string();
            assert!(told.contains(&(path.clone(), mode, shared)), "{path}");
        }
    }
}
