//! `progress.json`: how far the transaction is that runs.

use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::request::JobId;

/// `progress.json`: volatile, written often, never synced; the records are the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The job whose transaction runs.
    pub job: JobId,
    /// 0 to 100: downloading is the first half, installing the second.
    pub percent: u32,
    /// What it is doing, in one phrase.
    pub action: String,
}

/// What a worker published last; none when no transaction runs.
#[must_use]
pub fn load(paths: &Paths) -> Option<Progress> {
    super::try_read(&paths.progress()).unwrap_or(None)
}

/// Takes the progress away when no job runs any more.
pub fn forget(paths: &Paths) {
    let _ = std::fs::remove_file(paths.progress());
}
