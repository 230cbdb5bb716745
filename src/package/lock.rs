//! Waiting for a lock that another package manager holds.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::{Observer, Report};

/// How often a lock is checked again that can be checked without running the tool.
const LOOK: Duration = Duration::from_millis(100);

/// How long to wait before running a tool again that only says that it did not get its lock.
pub const RETRY: Duration = Duration::from_millis(500);

/// How often such a tool is run: ten minutes with these pauses.
const TRIES: u32 = 1200;

/// Reports the current lock holder once, and again only when it changes.
#[derive(Debug, Default)]
pub struct Wait {
    reported: String,
}

impl Wait {
    /// Waits a moment for `holder`, which is a sentence.
    pub fn moment(&mut self, holder: &str, length: Duration, observer: &mut dyn Observer) {
        if self.reported != holder {
            holder.clone_into(&mut self.reported);
            observer.report(Report::Waiting(holder.to_owned()));
        }
        std::thread::sleep(length);
    }
}

/// Runs a tool again while another process holds its lock, for ten minutes. `once` gives the holder in the place of a
/// result, and is told which run is the last: that one has to give a result. None when a stop was requested first.
pub fn retry<T>(
    observer: &mut dyn Observer,
    mut once: impl FnMut(&mut dyn Observer, bool) -> Result<Result<T, String>>,
) -> Result<Option<T>> {
    let mut wait = Wait::default();
    for _ in 1..TRIES {
        let holder = match once(observer, false)? {
            Ok(done) => return Ok(Some(done)),
            Err(holder) => holder,
        };
        if observer.stop() {
            return Ok(None);
        }
        wait.moment(&holder, RETRY, observer);
    }
    match once(observer, true)? {
        Ok(done) => Ok(Some(done)),
        Err(holder) => bail!("{holder}"),
    }
}

/// The same for a refresh, which has a limit: `once` is given the time that is left since `started`, at least a second.
/// An error that names the holder when the limit is over, or a stop was requested.
pub fn retry_within<T>(
    (limit, started): (Duration, Instant),
    observer: &mut dyn Observer,
    mut once: impl FnMut(Duration, &mut dyn Observer) -> Result<Result<T, String>>,
) -> Result<T> {
    let mut wait = Wait::default();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let holder = match once(left.max(Duration::from_secs(1)), observer)? {
            Ok(done) => return Ok(done),
            Err(holder) => holder,
        };
        ensure!(
            started.elapsed() + RETRY < limit && !observer.stop(),
            "{holder}"
        );
        wait.moment(&holder, RETRY, observer);
    }
}

/// Waits until no process holds a lock any more. An error when a stop was asked for first.
pub fn wait_until_free(
    observer: &mut dyn Observer,
    mut holder: impl FnMut() -> Result<Option<String>>,
) -> Result<()> {
    let mut wait = Wait::default();
    while let Some(holder) = holder()? {
        if observer.stop() {
            bail!("stopped while waiting: {holder}");
        }
        wait.moment(&holder, LOOK, observer);
    }
    Ok(())
}

/// Who holds a lock of fcntl(2), in a sentence; looked at without taking it.
pub fn holder(lock: &Path) -> Result<Option<String>> {
    let file = match File::open(lock) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("failed to open '{}'", lock.display()))?,
    };
    let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))
        .with_context(|| format!("failed to look at the lock '{}'", lock.display()))?;
    let lock = lock.display();
    Ok(held.map(|held| match held.pid {
        Some(pid) => {
            let pid = pid.as_raw_nonzero();
            format!("{lock} is held by process {pid} ({})", name_of(pid.get()))
        }
        None => format!("{lock} is held by a process that cannot be seen from here"),
    }))
}

fn name_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "gone".to_owned(), |name| name.trim().to_owned())
}
