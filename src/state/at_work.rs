//! `/run/linux_patch_api/at-work`: that the jobs in a worker's hands are those that it has taken itself. It is gone
//! after a reboot, and while a worker finishes what another one has left.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::fs::write_unsynced;
use crate::paths::Paths;

/// A worker has taken jobs.
pub fn begin(paths: &Paths) {
    if let Err(error) = write_unsynced(&path(paths), b"") {
        tracing::warn!("'{}': {error}", path(paths).display());
    }
}

/// It has ended them, or another worker has found them.
pub fn end(paths: &Paths) {
    match fs::remove_file(path(paths)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("'{}': {error}", path(paths).display());
        }
        _ => {}
    }
}

/// Whether the jobs in a worker's hands are its own.
#[must_use]
pub fn is_serving(paths: &Paths) -> bool {
    path(paths).exists()
}

fn path(paths: &Paths) -> PathBuf {
    paths.run().join("at-work")
}
