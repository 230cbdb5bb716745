//! Waiting for a lock that another package manager holds.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::{Observer, Report};

/// How often a lock is looked at again that can be looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long to wait before running a tool again that only says that it did not get its lock.
pub const RETRY: Duration = Duration::from_millis(500);

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

/// Waits until nobody holds a lock any more. An error when a stop was asked for first.
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
