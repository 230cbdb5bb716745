//! Exclusive locks of files.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, OFlags};

use crate::paths::quoted;

/// An exclusive lock on a file, released when dropped and by the kernel when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock when it is free; `None` when another process holds it.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        Self::flock(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock as soon as it is free. The kernel wakes the waiting processes in turn.
    pub fn take(path: &Path) -> Result<Self> {
        loop {
            if let Some(lock) = Self::flock(path, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// `None` when it is not free, or a signal came.
    fn flock(path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0))
            .open(path)
            .with_context(|| format!("failed to open the lock {}", quoted(path)))?;
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => bail!("failed to lock {}: {error}", quoted(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::try_take(&path).unwrap();
        assert!(first.is_some());
        assert!(Lock::try_take(&path).unwrap().is_none());
        let other = path.clone();
        let waiting = std::thread::spawn(move || Lock::take(&other).map(drop));
        assert!(!waiting.is_finished());
        drop(first);
        waiting.join().unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_some());
    }
}
