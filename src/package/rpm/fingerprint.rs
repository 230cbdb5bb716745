//! A text that changes whenever the index, the package database or the configuration does.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{locks, repositories};
use crate::checksum;
use crate::package::Source;
use crate::package::stamp::{add, add_all};

/// The files that hold RPM's database, in each of its formats. Not what changes when it is read: `SQLite`'s `-shm`, and
/// a log that is empty, which every process makes that opens it (sqlite.org/wal.html).
const DATABASE: [&str; 4] = [
    "rpmdb.sqlite",
    "rpmdb.sqlite-wal",
    "Packages.db",
    "Packages",
];

/// The stamp, with the caches and the configuration files and directories of a package manager.
pub fn stamp(failed: &[&Source], caches: &[PathBuf], configuration: &[&str]) -> String {
    let mut text = String::new();
    for source in failed {
        let _ = write!(text, "{source};");
    }
    for path in configuration {
        add_all(&mut text, Path::new(path));
    }
    text.push_str(&database().text);
    for cache in caches {
        for (id, directory) in repositories::cached(cache) {
            // its date changes when it is confirmed, its contents only when they are new
            if let Ok(bytes) = fs::read(directory.join("repodata/repomd.xml")) {
                let _ = write!(text, "{id}:{};", checksum::sha256(&bytes));
            }
        }
    }
    checksum::sha256(text.as_bytes())
}

/// The state of the database's files.
pub struct DatabaseFiles {
    /// Another text for another state.
    pub text: String,
    /// When the last of them was changed; none where there is none.
    pub newest: Option<SystemTime>,
}

/// What the database's files are now.
pub fn database() -> DatabaseFiles {
    let (mut text, mut newest) = (String::new(), None);
    for directory in locks::DATABASES {
        for name in DATABASE {
            let path = PathBuf::from(directory).join(name);
            if let Ok(file) = fs::metadata(&path)
                && file.len() > 0
            {
                add(&mut text, &path);
                newest = newest.max(file.modified().ok());
            }
        }
    }
    DatabaseFiles { text, newest }
}
