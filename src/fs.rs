//! Atomic writes, locks, and opening what others may have prepared, without following links.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};

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

/// Writes `bytes` to `path` so that a reader sees the old or the new file, whole. Nothing is synced: after a
/// power cut it may be torn.
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

/// Removes what writers that died have left in a directory, which nobody else may be writing to now.
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

/// Moves `path` out of the way of the file that is going to be written there: what cannot be read may be of
/// use to a person, or to a newer version of this program. The latest file of each name stays, and every
/// directory.
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

/// Why an entry that somebody else prepared could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It is gone: somebody else took it.
    Gone,
    /// It is not what an entry may be: a link, a directory, too large, …
    Refused(String),
    /// The disk or the kernel failed.
    Failed(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads a file from a directory that unprivileged accounts may write to: links are not followed, a
/// fifo does not block, only a regular file with a single name and at most `limit` bytes is read.
/// Type and size are asked of the open descriptor, so that a swap after the look changes nothing.
pub fn read_untrusted(directory: &Path, name: &Path, limit: u64) -> Result<Vec<u8>, Unreadable> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).map_err(io::Error::from)?;
    // no openat2(2), which RestrictSUIDSGID= takes from the doors: of one name, NOFOLLOW says it all
    if name.file_name() != Some(name.as_os_str()) {
        return Err(refused("it is not in this directory"));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Err(Unreadable::Gone),
        Err(rustix::io::Errno::LOOP) => return Err(refused("it is a symbolic link")),
        Err(rustix::io::Errno::NXIO) => return Err(refused("it is a socket")),
        // fcntl(2), F_SETLEASE: whoever owns it can keep it from being opened for a while
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(refused("another process holds a lease on it"));
        }
        Err(error) => return Err(Unreadable::Failed(error.into())),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    if std::os::unix::fs::MetadataExt::nlink(&metadata) > 1 {
        return Err(refused("it has a second name (hard link)"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(refused(&format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

fn refused(why: &str) -> Unreadable {
    Unreadable::Refused(why.to_owned())
}

/// An exclusive lock on a file, released when dropped and by the kernel when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock when it is free; `None` when somebody holds it.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        Self::flock(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock as soon as it is free. The kernel wakes whoever waits, in turn.
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

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_new(path, bytes, mode)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(path)?;
    // the mode given at creation is cut by the umask of whoever started us
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A name beside `path` that nobody else uses; the dot keeps it from being taken for an entry.
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

    #[test]
    fn only_small_regular_files_with_one_name_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let read = |name: &str| read_untrusted(directory.path(), Path::new(name), 4);
        fs::write(at("good"), b"1234").unwrap();
        fs::write(at("large"), b"12345").unwrap();
        fs::write(at("twice"), b"1").unwrap();
        fs::hard_link(at("twice"), at("again")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink(at("good"), at("link")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

        assert_eq!(read("good").unwrap(), b"1234");
        for name in ["large", "twice", "directory", "link", "fifo", "socket"] {
            assert!(
                matches!(read(name), Err(Unreadable::Refused(_))),
                "{name}: {:?}",
                read(name)
            );
        }
        assert!(matches!(read("missing"), Err(Unreadable::Gone)));
        for name in ["../x", "directory/../good", "directory/", "..", "."] {
            assert!(read(name).is_err(), "{name}");
        }
    }

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
