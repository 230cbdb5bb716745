//! What is to be there (`/etc/apk/world`), kept while a rollback pins versions in it; and apk's lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::fs::{Lock, write_atomically};
use crate::package::{Observer, Report};

/// How often a held lock is looked at again.
const INTERVAL: Duration = Duration::from_millis(250);

/// The world as it was.
pub struct World {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl World {
    /// Keeps it.
    pub fn keep(path: &Path) -> Result<Self> {
        let bytes =
            fs::read(path).with_context(|| format!("failed to read '{}'", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
        })
    }

    /// Writes it back as it was.
    pub fn write_back(self) -> Result<()> {
        if fs::read(&self.path).is_ok_and(|now| now == self.bytes) {
            return Ok(());
        }
        write_atomically(&self.path, &self.bytes, 0o644)
    }
}

/// Waits until nobody holds the lock, which is one of flock(2). An error when a stop was asked for first.
pub fn wait(lock: &Path, observer: &mut dyn Observer) -> Result<()> {
    let mut told = false;
    while Lock::try_take(lock)?.is_none() {
        let text = format!("'{}' is held by another apk", lock.display());
        if observer.stop() {
            bail!("stopped while waiting: {text}");
        }
        if !told {
            observer.report(Report::Waiting(text));
            told = true;
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_comes_back_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("world");
        fs::write(&path, "demo\nother\n").unwrap();
        let world = World::keep(&path).unwrap();
        fs::write(&path, "demo=1.0-r0\nother\n").unwrap();
        world.write_back().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "demo\nother\n");
    }
}
