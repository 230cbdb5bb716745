//! The directory of the queue: its contents, and what the worker refuses or removes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::fs::{remove_durably, rename_durably};
use crate::journal;
use crate::paths::{Paths, quoted};
use crate::request::JobId;
use crate::sorted;

/// The most requests that may wait: beyond that a front end refuses the request instead of filling the disk.
pub const MAX_WAITING: usize = 20_000;

/// The number of requests that wait.
#[must_use]
pub fn length(paths: &Paths) -> usize {
    let entries = fs::read_dir(paths.queue()).into_iter().flatten().flatten();
    entries
        .filter(|entry| is_visible(&entry.file_name()))
        .count()
}

/// Whether the request of this job waits.
#[must_use]
pub fn is_waiting(paths: &Paths, id: &JobId) -> bool {
    let entry = paths.queue().join(format!("{id}.json"));
    entry.symlink_metadata().is_ok_and(|entry| entry.is_file())
}

/// Dot-files are others' unfinished work, which does not count.
pub(super) fn is_visible(name: &OsStr) -> bool {
    !name.as_encoded_bytes().starts_with(b".")
}

/// Every name in the queue, sorted.
pub(super) fn names(paths: &Paths) -> Result<Vec<OsString>> {
    let queue = paths.queue();
    let mut names = Vec::new();
    let entries =
        fs::read_dir(&queue).with_context(|| format!("failed to read {}", quoted(&queue)))?;
    for entry in entries {
        let name = entry
            .with_context(|| format!("failed to read {}", quoted(&queue)))?
            .file_name();
        if is_visible(&name) {
            names.push(name);
        }
    }
    sorted::sort(&mut names);
    Ok(names)
}

/// Moves an entry of the queue that is no request to `refused/`, and says so.
pub(super) fn refuse(paths: &Paths, name: &OsStr, why: &str) -> Result<()> {
    let what = format!("the queue entry {}", shown(name));
    refuse_in(paths, &paths.queue(), name, &what, why)
}

/// Moves what lies in a directory of the doors and does not belong there to `refused/`, and says so.
pub(super) fn refuse_in(
    paths: &Paths,
    directory: &Path,
    name: &OsStr,
    what: &str,
    why: &str,
) -> Result<()> {
    journal::request_refused(what, why);
    let target = paths.refused().join(name);
    // something may lie there under this name: the newest is kept, beside it
    let target = if target.symlink_metadata().is_ok() {
        // a name has 255 bytes at most
        let name = name.as_encoded_bytes();
        let mut unique = OsStr::from_bytes(&name[..name.len().min(200)]).to_owned();
        unique.push(format!(".{}", JobId::new()?));
        paths.refused().join(unique)
    } else {
        target
    };
    let entry = directory.join(name);
    rename_durably(&entry, &target).or_else(|error| {
        // the process that put it there may remove it at any moment
        let is_gone = entry
            .symlink_metadata()
            .is_err_and(|e| e.kind() == ErrorKind::NotFound);
        anyhow::ensure!(is_gone, error);
        Ok(())
    })
}

/// Takes away what was followed. Its name may have become a directory's since it was looked at.
pub(super) fn remove(paths: &Paths, name: &OsStr) -> Result<()> {
    let path = paths.queue().join(name);
    if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        return refuse(paths, name, "it is not a regular file");
    }
    // one that becomes a directory only now is put aside there, and refused by the next round
    remove_durably(&path)
}

/// A name of an entry, as messages show it.
pub(super) fn shown(name: &OsStr) -> String {
    crate::request::shown(&name.to_string_lossy())
}
