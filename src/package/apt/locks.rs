//! dpkg's locks: who holds them, looked at without taking them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::package::{Observer, Report};

/// How often a held lock is looked at again.
const INTERVAL: Duration = Duration::from_millis(100);

/// Waits until nobody holds one of dpkg's locks in `directory`: a front end such as apt holds the
/// first, dpkg itself the second, which is the only one left when its front end has died (measured).
pub fn wait_until_free(directory: &Path, observer: &mut dyn Observer) -> Result<()> {
    let locks = ["lock-frontend", "lock"].map(|name| directory.join(name));
    let mut told = String::new();
    while let Some(holder) = holder(&locks)? {
        if observer.stop() {
            bail!("stopped while waiting: {holder}");
        }
        if told != holder {
            told.clone_from(&holder);
            observer.report(Report::Waiting(holder));
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

/// Who holds one of the locks, in a sentence.
fn holder(locks: &[PathBuf]) -> Result<Option<String>> {
    for lock in locks {
        let file = match File::open(lock) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.with_context(|| format!("failed to open '{}'", lock.display()))?,
        };
        let asked = Flock::from(FlockType::WriteLock);
        let held = fcntl_getlk(&file, &asked)
            .with_context(|| format!("failed to look at the lock '{}'", lock.display()))?;
        if let Some(held) = held {
            let lock = lock.display();
            return Ok(Some(match held.pid {
                Some(pid) => {
                    let pid = pid.as_raw_nonzero();
                    format!("{lock} is held by process {pid} ({})", name_of(pid.get()))
                }
                None => format!("{lock} is held by a process that cannot be seen from here"),
            }));
        }
    }
    Ok(None)
}

fn name_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "gone".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Impatient(Vec<Report>);

    impl Observer for Impatient {
        fn report(&mut self, report: Report) {
            self.0.push(report);
        }

        fn stop(&mut self) -> bool {
            !self.0.is_empty()
        }
    }

    #[test]
    fn a_free_or_missing_lock_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("lock"), "").unwrap();
        let mut observer = Impatient(Vec::new());
        wait_until_free(directory.path(), &mut observer).unwrap();
        assert!(observer.0.is_empty());
    }
}
