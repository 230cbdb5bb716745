//! Records of ended jobs are kept by count and by age, since they were asked for and since they ended; what has not
//! ended is never thrown away, and what has ended just now is not either.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use chrono::{DateTime, Days, Utc};

use crate::fs::remove_all_durably;
use crate::host::clock;
use crate::request::JobId;
use crate::sorted;
use crate::state::job::{self, Job};
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::rollback;

/// For how long every record stays that was written just now, beyond what is kept by count: a client that waits for the
/// job looks at it once it has ended, and comes back within two minutes when the bus, the door or the link was away.
const TOLD_WITHIN: Duration = Duration::from_secs(10 * 60);

/// How many of the latest records stay however old they seem: a clock that runs ahead must not empty the
/// history.
const LATEST: usize = 10;

/// Throws away what is beyond the configured count or age.
pub fn run(ctx: &Context) -> Result<()> {
    let mut ids = job::ids(&ctx.paths.jobs());
    sorted::sort(&mut ids);
    let (keep, days) = (ctx.config.keep_jobs, ctx.config.keep_days);
    let surplus = ids.len().saturating_sub(keep);
    // before all that can be dated, nothing is old
    let oldest = clock::now().checked_sub_days(Days::new(days.into()));
    let aging = ids.len().saturating_sub(LATEST);
    let is_old = |at: DateTime<Utc>| oldest.is_some_and(|oldest| at < oldest);
    let now = SystemTime::now();
    let due = ids.iter().enumerate().filter(|(place, id)| {
        let many_or_old = *place < surplus || (*place < aging && created(id).is_some_and(is_old));
        many_or_old && !is_just_written(&job::record(&ctx.paths, id), now)
    });
    let ended = due.filter(|(place, id)| {
        Job::taken(&ctx.paths, id).is_some_and(|job| {
            // the caller of a job that waited long and ended just now has not read its record yet
            let is_new = job.finished_at.is_some_and(|at| !is_old(at));
            job.status.is_final() && (*place < surplus || !is_new)
        })
    });
    let files: Vec<OsString> = ended.flat_map(|(_, id)| files(id)).collect();
    remove_all_durably(&ctx.paths.jobs(), &files)
}

/// Whether the record was written so short a time ago that it may not have been seen. What a clock that ran ahead has
/// written is not.
fn is_just_written(record: &Path, now: SystemTime) -> bool {
    let written = fs::metadata(record).and_then(|record| record.modified());
    let age = written.ok().and_then(|at| now.duration_since(at).ok());
    age.is_some_and(|age| age < TOLD_WITHIN)
}

/// When the job was asked for: its id says so.
fn created(id: &JobId) -> Option<DateTime<Utc>> {
    let nanoseconds = u64::from_str_radix(id.as_str().get(..16)?, 16).ok()?;
    Some(DateTime::from_timestamp_nanos(
        i64::try_from(nanoseconds).ok()?,
    ))
}

/// The record goes first: output without a record is of no use, a record without output is.
fn files(id: &JobId) -> impl Iterator<Item = OsString> {
    let own = ["json", "log", "intent", "rollback", "before"];
    let own = own.map(|end| format!("{id}.{end}").into());
    own.into_iter().chain(rollback::seen_files(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_beyond_all_dates_is_no_age() {
        let long = u64::from(u32::MAX);
        assert_eq!(clock::now().checked_sub_days(Days::new(long)), None);
    }

    #[test]
    fn what_was_written_just_now_stays() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let now = fs::metadata(file.path()).unwrap().modified().unwrap();
        assert!(is_just_written(file.path(), now));
        assert!(is_just_written(file.path(), now + TOLD_WITHIN / 2));
        assert!(!is_just_written(file.path(), now + TOLD_WITHIN));
        assert!(!is_just_written(file.path(), now - TOLD_WITHIN));
        assert!(!is_just_written(Path::new("/nowhere"), now));
    }

    #[test]
    fn an_id_tells_its_age() {
        let id = JobId::new().unwrap();
        let age = clock::now() - created(&id).unwrap();
        assert!(age.num_seconds().abs() < 60);
    }
}
