//! Records of ended jobs are kept by count and by age; what has not ended is never thrown away.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::Worker;
use crate::fs::remove_all_durably;
use crate::host::clock;
use crate::request::JobId;
use crate::state::job::{self, Job};

/// Throws away what is beyond the configured count or age.
pub fn run(worker: &Worker) -> Result<()> {
    let mut ids = job::ids(&worker.paths.jobs());
    ids.sort();
    let (keep, days) = (worker.config.keep_jobs, worker.config.keep_days);
    let surplus = ids.len().saturating_sub(keep);
    let oldest = clock::now() - Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let due = ids
        .iter()
        .enumerate()
        .filter(|(place, id)| *place < surplus || created(id).is_some_and(|at| at < oldest));
    let ended = due
        .map(|(_, id)| id)
        .filter(|id| Job::taken(&worker.paths, id).is_some_and(|job| job.status.is_final()));
    let files: Vec<OsString> = ended.flat_map(files).collect();
    remove_all_durably(&worker.paths.jobs(), &files)
}

/// When the job was asked for: its id says so.
fn created(id: &JobId) -> Option<DateTime<Utc>> {
    let nanoseconds = u64::from_str_radix(id.as_str().get(..16)?, 16).ok()?;
    Some(DateTime::from_timestamp_nanos(
        i64::try_from(nanoseconds).ok()?,
    ))
}

/// The record goes first: output without a record is of no use, a record without output is.
fn files(id: &JobId) -> [OsString; 5] {
    [
        format!("{id}.json"),
        format!("{id}.log"),
        format!("{id}.intent"),
        format!("{id}.rollback"),
        format!("{id}.before"),
    ]
    .map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_age() {
        let id = JobId::new().unwrap();
        let age = clock::now() - created(&id).unwrap();
        assert!(age.num_seconds().abs() < 60);
    }
}
