//! `/etc`, file by file, as it was before an update: what of it differs after going back is named.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::OFlags;

use crate::checksum::sha256_of_open;
use crate::paths::Paths;
use crate::sorted::InOrder;
use crate::state::verification::{Difference, Differing};

/// The most files that are looked at: a directory with more is no configuration.
const MOST_FILES: usize = 20_000;

/// A file that is larger counts as changed with its size or its time; `/etc` has few (udev's hardware database,
/// a policy of `SELinux`).
const LARGE: u64 = 16 * 1024 * 1024;

/// How many digits of a file's SHA-256 are kept: enough to tell contents apart, and half of the space.
const DIGITS: usize = 32;

/// Where the histories of `/etc` lie that etckeeper(8) writes with every run of a package manager.
const HISTORIES: [&str; 5] = [".bzr", ".etckeeper", ".git", ".hg", "_darcs"];

/// Each path with what it is: type, mode, owner, group; and contents, or where a link leads.
pub type Etc = BTreeMap<String, String>;

/// The `/etc` of this moment.
pub fn read(paths: &Paths) -> Result<Etc> {
    let mut etc = Etc::new();
    walk(&paths.host("/etc"), |path, what| {
        etc.insert(path, what);
    })?;
    Ok(etc)
}

/// Looks at everything in this directory, without following links and on its own file system only. Each path
/// is as on the host, below `/etc`.
pub fn walk(directory: &Path, mut each: impl FnMut(String, String)) -> Result<()> {
    let root = fs::symlink_metadata(directory)
        .with_context(|| format!("failed to read '{}'", directory.display()))?;
    let mut left: Vec<PathBuf> = vec![PathBuf::new()];
    let mut count = 0;
    while let Some(below) = left.pop() {
        let place = directory.join(&below);
        let entries = match fs::read_dir(&place) {
            // it went while this was at work
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("failed to read '{}'", place.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to read '{}'", place.display()))?;
            let below = below.join(entry.file_name());
            let place = directory.join(&below);
            let Ok(metadata) = fs::symlink_metadata(&place) else {
                continue;
            };
            let is_history = HISTORIES.iter().any(|name| below == Path::new(name));
            if is_history || metadata.dev() != root.dev() && metadata.is_dir() {
                continue;
            }
            count += 1;
            ensure!(
                count <= MOST_FILES,
                "there are more than {MOST_FILES} files in it"
            );
            let path = Path::new("/etc").join(&below);
            each(
                path.to_string_lossy().into_owned(),
                describe(&place, &metadata),
            );
            if metadata.is_dir() {
                left.push(below);
            }
        }
    }
    Ok(())
}

/// The attributes of a file and, behind a slash, its contents.
fn describe(place: &Path, metadata: &Metadata) -> String {
    let contents = if metadata.is_symlink() {
        let target = fs::read_link(place).unwrap_or_default();
        format!("link {}", target.display())
    } else if metadata.is_file() {
        contents(place, metadata)
    } else if metadata.is_dir() {
        "directory".to_owned()
    } else {
        format!("device {}", metadata.rdev())
    };
    let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
    format!("{:o} {uid} {gid}/{contents}", mode & 0o7777)
}

fn contents(place: &Path, metadata: &Metadata) -> String {
    let by_size = || {
        let (size, seconds) = (metadata.size(), metadata.mtime());
        format!("{size} {seconds}.{}", metadata.mtime_nsec())
    };
    if metadata.size() > LARGE {
        return by_size();
    }
    // what has been put in its place meanwhile is neither followed nor waited for
    let open = || -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(place)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(file)
    };
    let sum = open().and_then(|mut file| sha256_of_open(&mut file));
    sum.map_or_else(|_| by_size(), |sum| sum[..DIGITS].to_owned())
}

/// What of `/etc` is not as it was: pure.
pub fn differing(before: &Etc, now: &Etc) -> Vec<Differing> {
    let changed = before.iter().filter_map(|(path, was)| {
        let what = match now.get(path) {
            None => Difference::Gone,
            Some(is) if is == was => return None,
            Some(is) if contents_of(is) == contents_of(was) => Difference::Attributes,
            Some(_) => Difference::Changed,
        };
        Some((path.clone(), what))
    });
    let new = now.keys().filter(|path| !before.contains_key(*path));
    let new = new.map(|path| (path.clone(), Difference::New));
    let all: BTreeMap<String, Difference> = changed.chain(new).in_order();
    let differing = all.into_iter().map(|(path, what)| Differing { path, what });
    differing.collect()
}

fn contents_of(description: &str) -> &str {
    description
        .split_once('/')
        .map_or(description, |(_, contents)| contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn look_at(root: &Path) -> Etc {
        let mut etc = Etc::new();
        walk(root, |path, what| drop(etc.insert(path, what))).unwrap();
        etc
    }

    #[test]
    fn what_differs_is_told_and_what_was_written_again_is_not() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("d")).unwrap();
        for name in ["d/same", "d/changed", "mode", "gone"] {
            fs::write(at(name), name).unwrap();
        }
        symlink("/nowhere", at("link")).unwrap();
        fs::create_dir(at(".git")).unwrap();
        let before = look_at(root.path());
        assert!(differing(&before, &look_at(root.path())).is_empty());

        fs::remove_file(at("d/same")).unwrap();
        fs::write(at("d/same"), "d/same").unwrap();
        fs::write(at("d/changed"), "d/Changed").unwrap();
        fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(at("gone")).unwrap();
        fs::remove_file(at("link")).unwrap();
        symlink("/elsewhere", at("link")).unwrap();
        fs::write(at("d/new"), "").unwrap();
        fs::write(at(".git/index"), "").unwrap();
        let told = differing(&before, &look_at(root.path()));
        let told: Vec<(&str, Difference)> = told.iter().map(|d| (&*d.path, d.what)).collect();
        assert_eq!(
            told,
            [
                ("/etc/d/changed", Difference::Changed),
                ("/etc/d/new", Difference::New),
                ("/etc/gone", Difference::Gone),
                ("/etc/link", Difference::Changed),
                ("/etc/mode", Difference::Attributes),
            ]
        );
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(look_at(root.path())["/etc/pipe"].ends_with("/device 0"));
    }
}
