//! `jobs/<id>.json`: one record for each request that a worker took.

use std::path::PathBuf;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::package::{Change, KeptBack};
use crate::paths::Paths;
use crate::request::{JobId, Request};
use crate::state::update::UpdateState;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It waits for the worker.
    Queued,
    /// The worker has it.
    Running,
    /// Done, or nothing was to be done.
    Succeeded,
    /// It failed, and its error says why.
    Failed,
    /// Somebody stopped it before anything changed.
    Cancelled,
}

impl JobStatus {
    /// The word that stands for it in every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A job: the request, and what became of it. Unknown keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The request, as it was queued.
    pub request: Request,
    /// How it stands.
    pub status: JobStatus,
    /// Its update, as of the end of the job.
    #[serde(default)]
    pub update: UpdateState,
    /// When a worker took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// The job whose transaction served it, and whose log holds the output; itself, most often.
    pub transaction: JobId,
    /// What changed, as read from the package database afterwards.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// What has a newer version and was left as it is, and why.
    #[serde(default)]
    pub kept_back: Vec<KeptBack>,
    /// What an administrator should know besides.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
}

impl Job {
    /// The job that a request becomes when a worker takes it.
    #[must_use]
    pub fn new(request: Request) -> Self {
        Self {
            transaction: request.id.clone(),
            request,
            status: JobStatus::Queued,
            update: UpdateState::default(),
            started_at: None,
            finished_at: None,
            changes: Vec::new(),
            kept_back: Vec::new(),
            notes: Vec::new(),
            error: None,
        }
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.request.id
    }

    /// Writes the record, durably.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&record(paths, self.id()), &serde_json::to_vec(self)?, 0o640)
    }

    /// Reads a record, if there is one.
    pub fn load(paths: &Paths, id: &JobId) -> Result<Option<Self>> {
        super::try_read(&record(paths, id))
            .map_err(|why| anyhow::anyhow!("{why}"))
            .with_context(|| format!("the record of job {id} cannot be read"))
    }

    /// Reads a record; one that is not usable counts as missing, and is said in the journal.
    #[must_use]
    pub fn find(paths: &Paths, id: &JobId) -> Option<Self> {
        super::read(&record(paths, id))
    }

    /// One line on how the job ended or stands.
    #[must_use]
    pub fn summary(&self) -> String {
        let plural = |count: usize| if count == 1 { "package" } else { "packages" };
        let kept = match self.kept_back.len() {
            0 => String::new(),
            count => format!(", {count} kept back"),
        };
        match (self.status, &self.error) {
            (JobStatus::Succeeded, _) if self.request.packages.is_none() => "refreshed".to_owned(),
            (JobStatus::Succeeded, _) if self.changes.is_empty() => format!("nothing to do{kept}"),
            (JobStatus::Succeeded, _) => {
                let count = self.changes.len();
                format!("{count} {} changed{kept}", plural(count))
            }
            (JobStatus::Failed, Some(error)) => format!("failed: {error}"),
            (status, _) => status.as_str().to_owned(),
        }
    }
}

/// The records, newest first; `limit` of them at most. What is not a record is passed over.
#[must_use]
pub fn list(paths: &Paths, limit: usize) -> Vec<Job> {
    let mut ids = ids(paths);
    ids.sort_by(|a, b| b.cmp(a));
    ids.iter()
        .filter_map(|id| Job::load(paths, id).ok().flatten())
        .take(limit)
        .collect()
}

/// The ids of all records, in no order.
#[must_use]
pub fn ids(paths: &Paths) -> Vec<JobId> {
    let Ok(entries) = std::fs::read_dir(paths.jobs()) else {
        return Vec::new();
    };
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
    entries
        .flatten()
        .filter_map(name)
        .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
        .collect()
}

/// Where the record of a job lies.
#[must_use]
pub fn record(paths: &Paths, id: &JobId) -> PathBuf {
    paths.jobs().join(format!("{id}.json"))
}

/// Where the package manager's output of a job lies.
#[must_use]
pub fn log(paths: &Paths, id: &JobId) -> PathBuf {
    paths.jobs().join(format!("{id}.log"))
}

/// Where the change list of a job's transaction lies, written before the first file changes.
#[must_use]
pub fn intent(paths: &Paths, id: &JobId) -> PathBuf {
    paths.jobs().join(format!("{id}.intent"))
}
