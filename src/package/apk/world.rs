//! What is to be there (`/etc/apk/world`), kept while a rollback pins versions in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::fs::write_atomically;

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
