//! What takes long is made once: directories and files under the cache, built under a lock and renamed into place.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Where everything of the lab lives: `LAB_CACHE`, or a directory every checkout on the machine shares.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("LAB_CACHE").map_or_else(
        || PathBuf::from("/var/cache/linux-patch-lab"),
        PathBuf::from,
    )
}

/// An exclusive lock between all test processes, held until the file is dropped.
pub(crate) fn lock(name: &str) -> Result<File> {
    let directory = root().join("locks");
    fs::create_dir_all(&directory)
        .with_context(|| format!("failed to create '{}'", directory.display()))?;
    let file = File::create(directory.join(name))
        .with_context(|| format!("failed to open the lock '{name}'"))?;
    file.lock()
        .with_context(|| format!("failed to take the lock '{name}'"))?;
    Ok(file)
}

/// `KIND/KEY` of the cache; when it is missing, `build` makes it at the path it is given, and no two processes do.
pub(crate) fn build_once(
    kind: &str,
    key: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let directory = root().join(kind);
    let finished = directory.join(key);
    if finished.exists() {
        return Ok(finished);
    }
    let _lock = lock(&format!("{kind}-{key}"))?;
    if finished.exists() {
        return Ok(finished);
    }
    let partial = directory.join(format!(".partial-{key}"));
    remove(&partial)?;
    fs::create_dir_all(&directory)
        .with_context(|| format!("failed to create '{}'", directory.display()))?;
    build(&partial)?;
    fs::rename(&partial, &finished)
        .with_context(|| format!("failed to finish '{}'", finished.display()))?;
    Ok(finished)
}

/// The key of something that was built once.
pub(crate) fn name_of(built: &Path) -> String {
    let name = built.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Removes a file or a whole directory, if there is one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.with_context(|| format!("failed to remove '{}'", path.display()))
}

/// A short name for everything in `parts`: another input, another key.
pub(crate) fn key<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_le_bytes());
        hash.update(part.as_ref());
    }
    let mut hex = hex(&hash.finalize());
    hex.truncate(16);
    hex
}

/// The SHA-256 of `bytes` as a Release file writes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The same of everything that can be read from there.
pub(crate) fn sha256_of(from: &mut impl Read) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
