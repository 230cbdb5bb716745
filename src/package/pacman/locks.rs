//! pacman's lock: a file that exists. Its holder can be found only among the processes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::package::{Observer, lock};

/// The lock of the live database.
pub const LOCK: &str = "/var/lib/pacman/db.lck";

/// How often a held lock is looked at again.
const INTERVAL: Duration = Duration::from_millis(250);

/// Who has the lock.
#[derive(Debug, PartialEq, Eq)]
pub enum LockState {
    /// No process.
    No,
    /// A living process, in a phrase.
    By(String),
    /// No living process: an interrupted run has left it.
    Stale,
    /// Processes of others cannot be seen from here.
    Unknown,
}

/// Reads the state of the lock.
pub fn held(lock: &Path) -> LockState {
    if !lock.exists() {
        return LockState::No;
    }
    match holder(Path::new("/proc"), lock) {
        Some(holder) => LockState::By(format!("'{}' is held by {holder}", lock.display())),
        // gone in the meantime
        None if !lock.exists() => LockState::No,
        None if fs::read("/proc/1/maps").is_err() => LockState::Unknown,
        None => LockState::Stale,
    }
}

/// Removes a lock that no process holds.
pub fn remove(lock: &Path) -> Result<()> {
    fs::remove_file(lock).with_context(|| format!("failed to remove '{}'", lock.display()))
}

/// A process that has the lock open, as pacman and every front end of it keep it while they hold it
/// (libalpm, `_alpm_handle_lock`). Its mode lets only root open it.
fn holder(proc: &Path, lock: &Path) -> Option<String> {
    let inode = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let (held, name) = (inode(lock)?, lock.file_name()?);
    // by its name first: a stat of a file on a network file system may never return
    let is_held = |descriptor: fs::DirEntry| {
        fs::read_link(descriptor.path()).is_ok_and(|path| path.file_name() == Some(name))
            && inode(&descriptor.path()) == Some(held)
    };
    for entry in fs::read_dir(proc).ok()?.flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let descriptors = fs::read_dir(entry.path().join("fd")).into_iter().flatten();
        if descriptors.flatten().any(is_held) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", name.trim()));
        }
    }
    None
}

/// Waits until no living process has the lock. Returns the state then. An error when a stop is asked for, or when it
/// takes longer than `limit`.
pub fn wait(observer: &mut dyn Observer, limit: Option<Duration>) -> Result<LockState> {
    let started = Instant::now();
    let mut wait = lock::Wait::default();
    loop {
        let holder = match held(Path::new(LOCK)) {
            LockState::By(holder) => holder,
            other => return Ok(other),
        };
        if observer.stop() {
            bail!("stopped while waiting: {holder}");
        }
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            bail!("{holder}");
        }
        wait.moment(&holder, INTERVAL, observer);
    }
}

/// Why nothing may be changed while a stale lock is there.
pub fn stale() -> String {
    format!(
        "'{LOCK}' was left behind by a package manager that was interrupted; make sure that the database is \
         in order (pacman -Dk, pacman -Qk), then remove it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_file_nobody_holds_it() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(held(&root.path().join("db.lck")), LockState::No);
    }

    #[test]
    fn a_process_that_has_the_lock_open_is_found() {
        let root = tempfile::tempdir().unwrap();
        let lock = root.path().join("db.lck");
        let other = root.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("db.lck"), "").unwrap();
        fs::write(&lock, "").unwrap();
        let proc = root.path().join("proc");
        for (pid, file, name) in [
            ("7", &other.join("db.lck"), "sh"),
            ("9", &lock, "pamac-daemon"),
        ] {
            let process = proc.join(pid);
            fs::create_dir_all(process.join("fd")).unwrap();
            std::os::unix::fs::symlink(file, process.join("fd/3")).unwrap();
            fs::write(process.join("comm"), format!("{name}\n")).unwrap();
        }
        assert_eq!(holder(&proc, &lock).unwrap(), "process 9 (pamac-daemon)");
        fs::remove_dir_all(proc.join("9")).unwrap();
        assert_eq!(holder(&proc, &lock), None);
    }
}
