//! The state of a job, as the service reports it to a client that follows the job.

use serde_json::{Value, json};

use super::interface::{VarlinkError, failed};
use crate::api::records;
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::job::{Job, JobStatus};
use crate::state::progress::{self, Progress};
use crate::state::update::UpdateState;

/// How a job stands.
pub struct Standing {
    status: JobStatus,
    /// How far a running job is, and what it does.
    progress: Option<Progress>,
    /// The record, once a worker has taken the job.
    record: Option<Job>,
}

impl Standing {
    pub fn of(paths: &Paths, id: &JobId) -> Result<Self, VarlinkError> {
        // the entry is looked for first: it goes when the record is there
        let waits = paths.queue().join(format!("{id}.json")).exists();
        let record = records::find(paths, id).map_err(|error| failed(&error))?;
        match record {
            Some(mut job) if job.status == JobStatus::Running => {
                job.update = UpdateState::of_job(paths, job.started_at);
                Ok(Self::running(paths, job))
            }
            Some(job) => Ok(Self {
                status: job.status,
                progress: None,
                record: Some(job),
            }),
            None if waits => Ok(Self {
                status: JobStatus::Queued,
                progress: None,
                record: None,
            }),
            None => Err(VarlinkError::NoSuchJob(id.clone())),
        }
    }

    /// Before and after its transaction, a running job does what the phase of its update says.
    fn running(paths: &Paths, job: Job) -> Self {
        let progress = progress::load(paths).unwrap_or_else(|| Progress {
            job: job.transaction.clone(),
            percent: 0,
            action: job.update.phase.as_str().to_owned(),
        });
        Self {
            status: job.status,
            progress: Some(progress),
            record: Some(job),
        }
    }

    /// The reported state of a job never goes back.
    pub fn after(mut self, before: Option<&Self>) -> Self {
        let before = before.and_then(|before| before.progress.as_ref());
        if let (Some(now), Some(before)) = (&mut self.progress, before) {
            now.percent = now.percent.max(before.percent);
        }
        self
    }

    pub fn is_as(&self, other: &Self) -> bool {
        self.status == other.status && self.progress == other.progress
    }

    pub fn is_settled(&self) -> bool {
        self.record.as_ref().is_some_and(Job::is_settled)
    }

    pub fn json(&self, id: &JobId, with_record: bool) -> Result<Value, VarlinkError> {
        let mut json = json!({"job": id, "status": self.status.as_str()});
        if let Some(progress) = &self.progress {
            json["percent"] = progress.percent.into();
            json["action"] = progress.action.clone().into();
        }
        if let Some(record) = self.record.as_ref().filter(|_| with_record) {
            json["summary"] = record.summary().into();
            json["record"] = serde_json::to_value(record).map_err(|error| failed(&error.into()))?;
        }
        Ok(json)
    }
}
