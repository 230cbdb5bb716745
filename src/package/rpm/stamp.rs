//! A text that changes whenever the index, the package database or the configuration does.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::{database, locks, repositories};
use crate::checksum;
use crate::package::Source;

/// The files that hold RPM's database, in each of its formats. Not those that change when it is read:
/// `SQLite`'s `-shm`.
const DATABASE: [&str; 4] = [
    "rpmdb.sqlite",
    "rpmdb.sqlite-wal",
    "Packages.db",
    "Packages",
];

/// The stamp, with the caches and the configuration files and directories of a package manager.
pub fn stamp(failed: &[&Source], caches: &[&Path], configuration: &[&str]) -> String {
    let mut text = String::new();
    for source in failed {
        let _ = write!(text, "{source};");
    }
    for path in configuration {
        add(&mut text, Path::new(path));
    }
    text.push_str(&database_stamp());
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

fn database_stamp() -> String {
    let mut text = String::new();
    for directory in locks::DATABASES {
        for name in DATABASE {
            add(&mut text, &PathBuf::from(directory).join(name));
        }
    }
    text
}

fn add(text: &mut String, path: &Path) {
    if let Ok(m) = fs::metadata(path) {
        let (ino, size, seconds, nanos) = (m.ino(), m.size(), m.mtime(), m.mtime_nsec());
        let _ = write!(text, "{ino}:{size}:{seconds}:{nanos};");
    }
}

/// What is wrong with the database; asked of it only when it has changed since the last time, because
/// every look at the health of the host wants to know.
pub fn problems() -> Result<Vec<String>> {
    static KNOWN: Mutex<Option<(String, Vec<String>)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = database_stamp();
    if let Some((stamp, problems)) = known.as_ref()
        && *stamp == now
    {
        return Ok(problems.clone());
    }
    let problems = database::read()?.problems();
    *known = Some((now, problems.clone()));
    Ok(problems)
}
