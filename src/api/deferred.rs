//! The jobs that were put off, for the picture of the host.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::paths::Paths;
use crate::request::JobId;
use crate::sorted::InOrder;
use crate::state::job::{self, Job, JobStatus};

/// A job that was put off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deferred {
    /// Its id.
    pub job: JobId,
    /// Since when it waits.
    pub since: Option<DateTime<Utc>>,
    /// For what.
    pub error: Option<String>,
}

/// So many deferred jobs are shown.
const DEFERRED_SHOWN: usize = 10;

impl Deferred {
    /// Those that wait the longest.
    #[must_use]
    pub fn oldest(paths: &Paths) -> Vec<Self> {
        let ids: BTreeSet<JobId> = job::ids(&paths.deferred()).into_iter().in_order();
        let jobs = ids.iter().filter_map(|id| Job::find(paths, id).ok()?);
        let waiting = jobs.filter(|job| job.status == JobStatus::Deferred);
        waiting.take(DEFERRED_SHOWN).map(Self::from).collect()
    }
}

impl From<Job> for Deferred {
    fn from(job: Job) -> Self {
        Self {
            since: job.started_at,
            error: job.error.clone(),
            job: job.request.id,
        }
    }
}
