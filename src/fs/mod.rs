//! Atomic writes, locks, and opening what others may have prepared, without following links.

mod lock;
mod untrusted;

pub use lock::Lock;
pub use untrusted::{Unreadable, read_untrusted};

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use rustix::fs::RenameFlags;

use crate::paths::quoted;

/// Writes `bytes` to `path` so that after a power cut at any point the file is the old or the new
/// one, whole: temporary file, fsync, rename, fsync of the directory. All four are needed: on ext4
/// without `auto_da_alloc` a rename without fsync left a file of 0 bytes (FACTS 69).
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = path
        .parent()
        .with_context(|| format!("{} has no directory", quoted(path)))?;
    let temporary = temporary_beside(path);
    let write = || -> io::Result<()> {
        write_synced(&temporary, bytes, mode)?;
        replace(&temporary, path)?;
        sync_directory(directory)
    };
    write().or_else(|error| {
        // what could not be finished must not be left behind, least of all on a full disk
        let _ = fs::remove_file(&temporary);
        Err(error).with_context(|| format!("failed to write {}", quoted(path)))
    })
}

/// Writes `bytes` to `path` so that a reader sees the old or the new file, whole. Nothing is synced: after a power cut
/// it may be incomplete.
pub fn write_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let written = fs::write(&temporary, bytes).and_then(|()| replace(&temporary, path));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

/// Writes many files of one directory as [`write_atomically`] writes one, with one sync for all.
pub fn write_all_atomically(
    directory: &Path,
    files: &[(String, Vec<u8>)],
    mode: u32,
) -> Result<()> {
    if let [(name, bytes)] = files {
        return write_atomically(&directory.join(name), bytes, mode);
    }
    let temporary = |name: &str| directory.join(format!(".{name}.{}", std::process::id()));
    let write = || -> io::Result<()> {
        for (name, bytes) in files {
            write_new(&temporary(name), bytes, mode)?;
        }
        rustix::fs::syncfs(File::open(directory)?)?;
        for (name, _) in files {
            replace(&temporary(name), &directory.join(name))?;
        }
        sync_directory(directory)
    };
    write().or_else(|error| {
        for (name, _) in files {
            let _ = fs::remove_file(temporary(name));
        }
        Err(error).with_context(|| format!("failed to write files in {}", quoted(directory)))
    })
}

/// Removes files of one directory, with one sync for all; those that are gone already are no error, and
/// what has become a directory stays.
pub fn remove_all_durably(directory: &Path, names: &[OsString]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let is_gone = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory
        )
    };
    let remove = || -> io::Result<()> {
        for name in names {
            match fs::remove_file(directory.join(name)) {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        sync_directory(directory)
    };
    remove().with_context(|| format!("failed to remove files in {}", quoted(directory)))
}

/// Removes the temporary files that dead writers have left in a directory. No other process may be writing to it.
pub fn remove_leftovers(directory: &Path) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("failed to read {}", quoted(directory)))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let left: Vec<OsString> = names
        .filter(|name| name.as_encoded_bytes().starts_with(b"."))
        .collect();
    remove_all_durably(directory, &left)
}

/// Like [`write_atomically`], but an existing `path` is left alone: `Ok(false)` when it was there.
pub fn create_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<bool> {
    let directory = path
        .parent()
        .with_context(|| format!("{} has no directory", quoted(path)))?;
    let temporary = temporary_beside(path);
    let write = || -> io::Result<bool> {
        write_synced(&temporary, bytes, mode)?;
        let cwd = rustix::fs::CWD;
        match rustix::fs::renameat_with(cwd, &temporary, cwd, path, RenameFlags::NOREPLACE) {
            Ok(()) => sync_directory(directory).map(|()| true),
            Err(rustix::io::Errno::EXIST) => fs::remove_file(&temporary).map(|()| false),
            Err(error) => Err(error.into()),
        }
    };
    write().or_else(|error| {
        let _ = fs::remove_file(&temporary);
        Err(error).with_context(|| format!("failed to write {}", quoted(path)))
    })
}

/// Moves `from` to `to` and makes the move durable; both directories are synced.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    let rename = || -> io::Result<()> {
        fs::rename(from, to)?;
        for directory in [to.parent(), from.parent()].into_iter().flatten() {
            sync_directory(directory)?;
        }
        Ok(())
    };
    rename().with_context(|| format!("failed to move {} to {}", quoted(from), quoted(to)))
}

/// Removes `path` durably; a file that is not there is no error, and a directory in its place is put aside.
pub fn remove_durably(path: &Path) -> Result<()> {
    let remove = || -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => move_aside(path)?,
            other => other?,
        }
        path.parent().map_or(Ok(()), sync_directory)
    };
    remove().with_context(|| format!("failed to remove {}", quoted(path)))
}

/// Moves `path` out of the way of a new file: an administrator, or a newer version of this program, may still have a
/// use for what this version cannot read. The latest file of each name stays, and every directory.
pub fn put_aside(path: &Path) -> Result<()> {
    move_aside(path)
        .and_then(|()| path.parent().map_or(Ok(()), sync_directory))
        .with_context(|| format!("failed to put {} aside", quoted(path)))
}

/// Renames `path` to `path.bad`; to a name that nothing else has where a directory is involved, which neither
/// replaces a file nor is replaced by one.
fn move_aside(path: &Path) -> io::Result<()> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        name
    };
    match fs::rename(path, named(".bad")) {
        Err(error) if is_in_the_way(&error) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default().as_nanos();
            fs::rename(path, named(&format!(".{now}.bad")))
        }
        other => other,
    }
}

fn is_in_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::AlreadyExists
    )
}

/// Renames the finished file to `path`. A directory in its place is put aside first, or the file would never
/// be written again.
fn replace(finished: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(finished, path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            move_aside(path)?;
            fs::rename(finished, path)
        }
        other => other,
    }
}

/// Creates a directory and its parents when missing.
pub fn ensure_directory(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("failed to create the directory {}", quoted(path)))
}

/// Cuts a file that is larger than `limit` bytes down to its first and its last part, with a line
/// between them that says so. One that is not there is left alone.
pub fn cap_file(path: &Path, limit: u64) -> Result<()> {
    let cap = || -> io::Result<()> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let (length, half) = (file.metadata()?.len(), limit / 2);
        if length <= limit {
            return Ok(());
        }
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length - half))?;
        file.read_to_end(&mut tail)?;
        file.set_len(half)?;
        file.seek(SeekFrom::Start(half))?;
        writeln!(file, "\n[… {} bytes cut out …]", length - 2 * half)?;
        file.write_all(&tail)
    };
    cap().with_context(|| format!("failed to cut {}", quoted(path)))
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_new(path, bytes, mode)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(path)?;
    // the umask of this process restricts the mode given at creation
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A unique name beside `path`; the dot marks it as no entry.
fn temporary_beside(path: &Path) -> std::path::PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{count}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_and_leaves_no_temporary() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write_atomically(&path, b"one", 0o644).unwrap();
        write_atomically(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_in_the_place_of_a_file_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        fs::create_dir_all(path.join("full")).unwrap();
        write_atomically(&path, b"one", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(directory.path().join("a.json.bad/full").exists());
    }

    #[test]
    fn a_directory_is_put_aside_wherever_a_file_is_written_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let count = || {
            let entries = fs::read_dir(directory.path()).unwrap().flatten();
            let aside = |e: &fs::DirEntry| e.path().extension().is_some_and(|e| e == "bad");
            entries.filter(aside).count()
        };
        fs::create_dir_all(at("one/full")).unwrap();
        let files = ["one", "two"].map(|name| (name.to_owned(), name.into()));
        write_all_atomically(directory.path(), &files, 0o644).unwrap();
        assert_eq!(fs::read(at("one")).unwrap(), b"one");
        assert_eq!(count(), 1);
        // each directory stays, whatever has its name already
        for number in 2..4 {
            remove_durably(&at("one")).unwrap();
            fs::create_dir_all(at("one/full")).unwrap();
            remove_durably(&at("one")).unwrap();
            assert_eq!(count(), number);
            fs::write(at("one"), "unusable").unwrap();
        }
        put_aside(&at("one")).unwrap();
        assert_eq!(count(), 4, "a file beside the directories");
        fs::write(at("two"), "unusable").unwrap();
        for _ in 0..2 {
            put_aside(&at("two")).unwrap();
            fs::write(at("two"), "unusable").unwrap();
        }
        assert_eq!(count(), 5, "the latest one of a file");
    }

    #[test]
    fn a_second_creation_leaves_the_first_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert!(create_atomically(&path, b"one", 0o600).unwrap());
        assert!(!create_atomically(&path, b"two", 0o600).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_large_file_keeps_its_beginning_and_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        cap_file(&path, 10).unwrap();
        fs::write(&path, "0123456789").unwrap();
        cap_file(&path, 10).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0123456789");
        fs::write(&path, "begin and a long end").unwrap();
        cap_file(&path, 10).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "begin\n[… 10 bytes cut out …]\ng end"
        );
    }
}
