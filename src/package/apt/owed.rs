//! Files among apt's lists that belong to an older index than the present one, because apt could not fetch them with
//! it.
//!
//! apt takes a file that lies beside an unchanged index for the one which that index names, and does not fetch it
//! (`QueueIndexes` of apt-pkg/acquire-item.cc; FACTS 16): such a file would stay old until it changes at its source. So
//! the refresh marks it, and moves it away while apt fetches the next time.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::acquire;

/// The time of last change that marks a file, in seconds since 1970; apt gives it the time that its source tells.
const MARK: u64 = 1;

/// The marked files, moved away until this is dropped, which moves back what apt has not fetched.
#[derive(Debug)]
pub struct Owed<'a> {
    lists: &'a Path,
    files: Vec<OsString>,
}

impl<'a> Owed<'a> {
    /// Moves the marked files away. A file that cannot be moved stays as it is.
    pub fn set_aside(lists: &'a Path) -> Self {
        let is_owed = |entry: &fs::DirEntry| {
            let metadata = entry.metadata();
            metadata.is_ok_and(|m| m.is_file() && u64::try_from(m.mtime()) == Ok(MARK))
        };
        let entries = fs::read_dir(lists).into_iter().flatten().flatten();
        let names = entries.filter(is_owed).map(|entry| entry.file_name());
        let files = names
            .filter(|name| fs::rename(lists.join(name), aside(lists, name)).is_ok())
            .collect();
        Self { lists, files }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        for name in &self.files {
            let (place, aside) = (self.lists.join(name), aside(self.lists, name));
            let result = if place.exists() {
                fs::remove_file(aside)
            } else {
                fs::rename(aside, place)
            };
            // apt has cleaned up there: it wants the file no more
            if let Err(error) = result.as_ref()
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::debug!("'{}' was not put back: {error}", name.display());
            }
        }
    }
}

/// Marks what apt has of a source besides its index and its lists of packages.
pub fn mark(lists: &Path, index: &str) {
    let is_extra = |name: &str| {
        let is_index = name.ends_with("Release") || name.ends_with("Release.gpg");
        acquire::is_of(index, name) && !is_index && !name.contains("_Packages")
    };
    for entry in fs::read_dir(lists).into_iter().flatten().flatten() {
        // a link leads to the source's own file, which is never an old one
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file || !is_extra(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(MARK);
        let file = File::options().write(true).open(entry.path());
        if let Err(error) = file.and_then(|file| file.set_modified(time)) {
            tracing::debug!("'{}' was not marked: {error}", entry.path().display());
        }
    }
}

/// Where apt keeps what it is about to fetch, and cleans up when it has.
fn aside(lists: &Path, name: &OsString) -> PathBuf {
    let mut name = name.clone();
    name.push(".patchctl");
    lists.join("partial").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "host_dists_stable_InRelease";
    const CONTENTS: &str = "host_dists_stable_main_Contents-amd64.lz4";

    fn lists() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("partial")).unwrap();
        for name in [
            INDEX,
            CONTENTS,
            "host_dists_stable_main_binary-amd64_Packages",
            "host_dists_stable-security_main_Contents-amd64.lz4",
        ] {
            fs::write(root.path().join(name), "old").unwrap();
        }
        root
    }

    fn count(lists: &Path) -> usize {
        fs::read_dir(lists).unwrap().count()
    }

    #[test]
    fn what_is_owed_is_out_of_the_way_and_comes_back() {
        let root = lists();
        let lists = root.path();
        drop(Owed::set_aside(lists));
        assert_eq!(count(lists), 5);
        mark(lists, INDEX);
        let owed = Owed::set_aside(lists);
        assert_eq!(owed.files, [CONTENTS]);
        assert!(!lists.join(CONTENTS).exists());
        drop(owed);
        assert!(lists.join(CONTENTS).exists());
        assert_eq!(Owed::set_aside(lists).files, [CONTENTS], "it is owed still");
    }

    #[test]
    fn what_apt_has_fetched_stays() {
        let root = lists();
        let lists = root.path();
        mark(lists, INDEX);
        let owed = Owed::set_aside(lists);
        fs::write(lists.join(CONTENTS), "new").unwrap();
        drop(owed);
        assert_eq!(fs::read_to_string(lists.join(CONTENTS)).unwrap(), "new");
        assert_eq!(count(&lists.join("partial")), 0);
        assert!(Owed::set_aside(lists).files.is_empty());
    }
}
