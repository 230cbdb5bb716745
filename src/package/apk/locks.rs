//! apk's lock.

use std::path::Path;

use anyhow::Result;

use crate::fs::Lock;
use crate::package::{Observer, lock};

/// Waits until no process holds the lock, which is one of flock(2). An error when a stop was asked for first.
pub fn wait(path: &Path, observer: &mut dyn Observer) -> Result<()> {
    lock::wait_until_free(observer, || {
        let is_held = Lock::try_take(path)?.is_none();
        Ok(is_held.then(|| format!("'{}' is held by another apk", path.display())))
    })
}
