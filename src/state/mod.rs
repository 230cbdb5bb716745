//! The records: what the host knows of its index, its pending updates, its jobs, its latest update.

pub mod alert;
pub mod at_work;
pub mod blocked;
pub mod cache;
pub mod findings;
pub mod installed;
pub mod job;
pub mod kept_back;
pub mod life;
pub mod package_store;
pub mod pending;
pub mod progress;
pub mod reboot;
pub mod services;
pub mod shutdown;
pub mod stall;
pub mod update;
pub mod verification;

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::fs::put_aside;
use crate::journal;

/// The largest state file that is read: far above what is ever written.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a state file. One that is missing is `None`; one that is torn, empty, binary or of another
/// type is `None`, too, and said in the journal: state can be collected again, a crash loop cannot be
/// lived with.
#[must_use]
pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    match try_read(path) {
        Ok(value) => value,
        Err(why) => {
            journal::state_unusable(path, &why);
            None
        }
    }
}

/// Like [`read`], for a process that will write the file: one that cannot be used, because a newer version
/// of this program has written it perhaps, is put aside and not overwritten.
#[must_use]
pub fn read_to_change<T: DeserializeOwned>(path: &Path) -> Option<T> {
    match try_read(path) {
        Ok(value) => value,
        Err(why) => {
            journal::state_unusable(path, &why);
            if (path.is_file() || path.is_dir())
                && let Err(error) = put_aside(path)
            {
                tracing::warn!("{error:#}");
            }
            None
        }
    }
}

/// Like [`read`], but tells why instead of logging it; `Ok(None)` when there is no file.
pub fn try_read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| error.to_string())
}
