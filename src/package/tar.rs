//! What tar prints of an archive's contents: `dpkg-deb --contents` and `bsdtar -tv`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Change;
use crate::exec::Program;

/// The block size of most file systems: a file takes a multiple of it.
const BLOCK: u64 = 4096;

/// The files and directories of a package.
pub fn files(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(entry)
        .map(|(path, _)| path)
        .collect()
}

/// How many bytes its files take on the disk, of those that lie `there`.
pub fn bytes(listed: &str, there: &dyn Fn(&Path) -> bool) -> u64 {
    let entries = listed.lines().filter_map(entry);
    let sizes = entries.filter(|(path, size)| *size > 0 && there(path));
    sizes.map(|(_, size)| on_disk(size)).sum()
}

/// How many bytes the package file of each change brings `there`; none where there is no such file. `known` are the
/// files of the installed package: where none of them lies there, `contents` need not list those of the package
/// file.
pub fn brought(
    changes: &[Change],
    there: &dyn Fn(&Path) -> bool,
    known: impl Fn(&Change) -> Option<Vec<PathBuf>>,
    contents: impl Fn(&Path) -> Program,
) -> Result<Vec<Option<u64>>> {
    let is_in_place = |file: &PathBuf| there(file) && !file.is_dir();
    let brought = |change: &Change| {
        let Some(file) = change.file.as_deref().filter(|file| file.exists()) else {
            return Ok(None);
        };
        if known(change).is_some_and(|known| !known.iter().any(is_in_place)) {
            return Ok(Some(0));
        }
        Ok(Some(bytes(&contents(file).output_checked()?, there)))
    };
    changes.iter().map(brought).collect()
}

/// How many bytes a file of this size takes on the disk.
pub fn on_disk(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// The path in a line and the size of what lies there, 0 of all but regular files. GNU's form, which dpkg-deb
/// prints, is `-rw-r--r-- root/root 12 2026-01-31 10:00 ./usr/share/a b`; libarchive's is that of ls(1):
/// `-rw-r--r-- 0 root root 12 Jan 31 10:00 usr/share/a b`.
fn entry(line: &str) -> Option<(PathBuf, u64)> {
    let (permissions, rest) = field(line)?;
    let (owner, rest) = field(rest)?;
    let (size, rest) = if owner.contains('/') {
        let (size, rest) = field(rest)?;
        (size, skip(rest, 2)?)
    } else {
        let (size, rest) = field(skip(rest, 2)?)?;
        (size, skip(rest, 3)?)
    };
    let path = match permissions.as_bytes().first()? {
        b'l' => rest.split_once(" -> ")?.0,
        _ => rest.split_once(" link to ").map_or(rest, |(path, _)| path),
    };
    let size = match permissions.as_bytes().first()? {
        b'-' => size.parse().ok()?,
        _ => 0,
    };
    let path = path.trim_start_matches("./");
    (!path.is_empty()).then(|| (Path::new("/").join(path), size))
}

/// The first field of a line, and the rest.
fn field(text: &str) -> Option<(&str, &str)> {
    let (field, rest) = text.trim_start().split_once(' ')?;
    Some((field, rest.trim_start()))
}

fn skip(text: &str, fields: usize) -> Option<&str> {
    (0..fields).try_fold(text, |rest, _| field(rest).map(|(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let gnu = "drwxr-xr-x root/root         0 2026-01-31 10:00 ./\n\
            drwxr-xr-x root/root         0 2026-01-31 10:00 ./boot/\n\
            -rw-r--r-- root/root      4097 2026-01-31 10:00 ./boot/vmlinuz 1\n\
            lrwxrwxrwx root/root         0 2026-01-31 10:00 ./boot/vmlinuz -> vmlinuz 1\n\
            hrw-r--r-- root/root         0 2026-01-31 10:00 ./usr/b link to ./usr/a\n\
            -rw-r--r-- root/root         1 2026-01-31 10:00 ./usr/a\n";
        let bsd = "-rw-r--r--  0 root   root       20 Jan 31 10:00 .PKGINFO\n\
            drwxr-xr-x  0 root   root        0 Jan 31  2025 boot/\n\
            -rw-r--r--  0 root   root     4097 Jan 31  2025 boot/vmlinuz 1\n\
            lrwxrwxrwx  0 root   root        0 Jan 31  2025 boot/vmlinuz -> vmlinuz 1\n\
            -rw-r--r--  0 root   root        1 Jan 31  2025 usr/a\n";
        let boot = |path: &Path| path.starts_with("/boot");
        for listed in [gnu, bsd] {
            assert_eq!(bytes(listed, &boot), 8192, "{listed}");
            assert_eq!(bytes(listed, &|path| path.starts_with("/usr")), 4096);
            let files = files(listed);
            for path in ["/boot", "/boot/vmlinuz 1", "/boot/vmlinuz", "/usr/a"] {
                assert!(files.contains(&path.into()), "{path}: {files:?}");
            }
        }
    }
}
