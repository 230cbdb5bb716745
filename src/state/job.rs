//! `jobs/<id>.json`: one record for each request that a worker took.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{write_all_atomically, write_atomically};
use crate::package::{Change, KeptBack, RollbackItem};
use crate::paths::Paths;
use crate::request::{JobId, Kind, Request};
use crate::state::reboot::Following;
use crate::state::services::Outdated;
use crate::state::stall::Stall;
use crate::state::update::UpdateState;
use crate::state::verification::{Check, Rollback, Stayed};

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
    /// It was cancelled before anything changed.
    Cancelled,
    /// It waits for the network, or for the end of a shutdown.
    Deferred,
    /// Its preconditions no longer hold, and the administrator has to resolve that.
    Conflict,
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
            Self::Deferred => "deferred",
            Self::Conflict => "conflict",
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// What a deferred job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitsFor {
    /// A package source that can be reached.
    Network,
    /// The end of a shutdown that another program has scheduled, or its cancellation.
    Shutdown,
}

/// A job: the request, and what became of it. Unknown keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The request, as it was queued.
    pub request: Request,
    /// How it stands.
    pub status: JobStatus,
    /// Whether it has ended, and all that it asked for is as it was asked for: nothing of it is kept back for a
    /// cause that more than time has to end.
    #[serde(default)]
    pub reached: bool,
    /// Its update, as of the end of the job.
    #[serde(default)]
    pub update: UpdateState,
    /// The update of everything else, when that of our own package came after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<UpdateState>,
    /// Whether it was requeued with a part of its transaction applied, which happens once.
    #[serde(
        rename = "put_back",
        default,
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub requeued: bool,
    /// How many workers died, or could not go on, while they had it.
    #[serde(default, rename = "deaths")]
    pub crashes: u32,
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
    /// Further notes for the administrator.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why it failed, or waits.
    #[serde(default)]
    pub error: Option<String>,
    /// What it waits for while it is deferred.
    #[serde(default)]
    pub waits_for: Option<WaitsFor>,
    /// Where the former versions could be had from, found out before the first file changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<RollbackItem>,
    /// The former versions among them that are nowhere to be had.
    #[serde(default)]
    pub cannot_go_back: Vec<Stayed>,
    /// What was looked at afterwards, and what it said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verification: Vec<Check>,
    /// How it was undone, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// The reboot that follows it.
    #[serde(default)]
    pub reboot: Option<Following>,
    /// What still ran replaced files when it ended.
    #[serde(default)]
    pub outdated_services: Vec<Outdated>,
    /// The stalls while its packages changed; the last one has no end while it lasts.
    #[serde(rename = "hangs", default, skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<Stall>,
}

impl Job {
    /// The job that a request becomes when a worker takes it.
    #[must_use]
    pub fn new(request: Request) -> Self {
        Self {
            transaction: request.id.clone(),
            request,
            status: JobStatus::Queued,
            reached: false,
            update: UpdateState::default(),
            earlier: Vec::new(),
            requeued: false,
            crashes: 0,
            started_at: None,
            finished_at: None,
            changes: Vec::new(),
            kept_back: Vec::new(),
            notes: Vec::new(),
            error: None,
            waits_for: None,
            former: Vec::new(),
            cannot_go_back: Vec::new(),
            verification: Vec::new(),
            rollback: None,
            reboot: None,
            outdated_services: Vec::new(),
            stalls: Vec::new(),
        }
    }

    /// The record of a job that was requeued: from the beginning, with what it has applied so far.
    #[must_use]
    pub fn requeued_record(self) -> Self {
        Self {
            earlier: self.earlier,
            requeued: self.requeued,
            crashes: self.crashes,
            changes: self.changes,
            former: self.former,
            cannot_go_back: self.cannot_go_back,
            kept_back: self.kept_back,
            notes: self.notes,
            stalls: self.stalls,
            ..Self::new(self.request)
        }
    }

    /// Whether some of what it asks for is done, so that its record must not be lost.
    #[must_use]
    pub fn is_done_in_part(&self) -> bool {
        self.progress().is_self_update() || !self.changes.is_empty()
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.request.id
    }

    /// Whether no worker has anything to do for it now.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.status.is_final() || matches!(self.status, JobStatus::Deferred | JobStatus::Conflict)
    }

    /// The record, in whichever directory it is: taken, deferred or in conflict.
    pub fn find(paths: &Paths, id: &JobId) -> Result<Option<Self>> {
        // whether it is in conflict is looked for last: that takes a look at all that are
        let places = [record(paths, id), deferred(paths, id)];
        let in_conflict = std::iter::once_with(|| conflict(paths, id)).flatten();
        let places = places.into_iter().chain(in_conflict);
        for place in places {
            let job = super::try_read(&place).map_err(|why| anyhow::anyhow!("{why}"));
            if let Some(job) = job.with_context(|| format!("job {id} cannot be read"))? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Writes the record, durably.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&record(paths, self.id()), &serde_json::to_vec(self)?, 0o640)
    }

    /// Writes many records, durably.
    pub fn save_all(paths: &Paths, jobs: &[Self]) -> Result<()> {
        let file = |job: &Self| Ok((format!("{}.json", job.id()), serde_json::to_vec(job)?));
        let files = jobs.iter().map(file).collect::<Result<Vec<_>>>()?;
        write_all_atomically(&paths.jobs(), &files, 0o640)
    }

    /// Reads a record, if there is one.
    pub fn load(paths: &Paths, id: &JobId) -> Result<Option<Self>> {
        super::try_read(&record(paths, id))
            .map_err(|why| anyhow::anyhow!("{why}"))
            .with_context(|| format!("the record of job {id} cannot be read"))
    }

    /// Reads a record; one that is not usable counts as missing, and is said in the journal.
    #[must_use]
    pub fn taken(paths: &Paths, id: &JobId) -> Option<Self> {
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
            (JobStatus::Succeeded, _) if self.request.kind == Kind::Refresh => {
                "refreshed".to_owned()
            }
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

/// The ids of the records, or of the entries of the queue, in a directory, in no order.
#[must_use]
pub fn ids(directory: &Path) -> Vec<JobId> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let id = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let (id, _) = name
            .strip_suffix(".json")?
            .split_once('.')
            .unwrap_or((&name, ""));
        id.trim_end_matches(".json").parse().ok()
    };
    entries.flatten().filter_map(id).collect()
}

/// The path of the record of a deferred job.
#[must_use]
pub fn deferred(paths: &Paths, id: &JobId) -> PathBuf {
    paths.deferred().join(format!("{id}.json"))
}

/// The path of the record of a job in conflict, if it is in conflict.
#[must_use]
pub fn conflict(paths: &Paths, id: &JobId) -> Option<PathBuf> {
    let prefix = format!("{id}.conflict-");
    let entries = std::fs::read_dir(paths.conflicts()).ok()?;
    let of = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&prefix);
    entries.flatten().find(of).map(|entry| entry.path())
}

/// The path of the record of a job.
#[must_use]
pub fn record(paths: &Paths, id: &JobId) -> PathBuf {
    paths.jobs().join(format!("{id}.json"))
}

/// The path of the package manager's output of a job.
#[must_use]
pub fn log(paths: &Paths, id: &JobId) -> PathBuf {
    paths.jobs().join(format!("{id}.log"))
}

/// The path of the change list of a job's transaction, written before the first file changes.
#[must_use]
pub fn intent(paths: &Paths, id: &JobId) -> PathBuf {
    paths.jobs().join(format!("{id}.intent"))
}
