//! The database of installed packages, asked of `rpm` once for each of its states.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::database::{self, Contents};
use super::{conf, fingerprint};

/// What was read, and the state of the database then.
struct CachedContents {
    stamp: String,
    /// What may be there in several versions, as it was configured.
    configured: Vec<String>,
    contents: Arc<Contents>,
}

static KNOWN: Mutex<Option<CachedContents>> = Mutex::new(None);

/// How long ago the last change must be to be told by its date from a later one: twice the 10 ms by
/// which the kernel's clock for dates goes on (`CONFIG_HZ` of 100), and two seconds where a file system
/// knows whole seconds only.
const TICK: Duration = Duration::from_millis(20);
const WHOLE_SECONDS: Duration = Duration::from_secs(2);

/// The database as it is: asked of `rpm` only when it, or what may be there in several versions, has
/// changed since. Each of its formats writes what is changed to its file at once, by which the date of that
/// is another one: `SQLite` to its log (sqlite.org/wal.html), the native one to `Packages.db`, and Berkeley
/// DB when the cursor that writes is closed (`lib/backend/db3.c` of rpm 4.14).
pub fn read() -> Result<Arc<Contents>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (before, configured) = (fingerprint::database(), conf::parallel());
    if let Some(known) = known.as_ref()
        && known.stamp == before.text
        && known.configured == configured
    {
        return Ok(Arc::clone(&known.contents));
    }
    *known = None;
    let told = before.newest.is_some_and(wait_until_told);
    let contents = Arc::new(database::read()?);
    if told && fingerprint::database().text == before.text {
        *known = Some(CachedContents {
            stamp: before.text,
            configured,
            contents: Arc::clone(&contents),
        });
    }
    Ok(contents)
}

/// Reads the database in another thread, so that the next caller waits for the rest of that only.
pub fn read_ahead() {
    thread::spawn(read);
}

/// Waits until a change that comes next would have another date than the last one, where that takes no longer
/// than to ask `rpm` once more; whether it would.
fn wait_until_told(changed: SystemTime) -> bool {
    let left = until_told(changed, SystemTime::now());
    if let Some(left) = left.filter(|left| *left <= TICK) {
        thread::sleep(left);
    }
    until_told(changed, SystemTime::now()) == Some(Duration::ZERO)
}

/// How long after some moment the date of the last change would be another one if the next change came right
/// then. A date in the future tells nothing.
fn until_told(changed: SystemTime, now: SystemTime) -> Option<Duration> {
    let whole = changed
        .duration_since(SystemTime::UNIX_EPOCH)
        .is_ok_and(|since| since.subsec_nanos() == 0);
    let needed = if whole { WHOLE_SECONDS } else { TICK };
    let ago = now.duration_since(changed).ok()?;
    Some(needed.saturating_sub(ago))
}

/// Clears the cache when it is dropped: at the end of a run that may change packages.
#[must_use]
pub struct Changing;

impl Drop for Changing {
    fn drop(&mut self) {
        *KNOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_tells_once_it_is_past() {
        let changed = SystemTime::UNIX_EPOCH + Duration::new(1_795_240_401, 500);
        let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_240_401);
        let left = |changed: SystemTime, later: u64| {
            until_told(changed, changed + Duration::from_millis(later))
        };
        assert_eq!(left(changed, 20), Some(Duration::ZERO));
        assert_eq!(left(changed, 19), Some(Duration::from_millis(1)));
        assert_eq!(left(whole, 1_000), Some(Duration::from_secs(1)));
        assert_eq!(left(whole, 3_000), Some(Duration::ZERO));
        let future = until_told(changed, changed - Duration::from_secs(9));
        assert_eq!(future, None);
    }
}
