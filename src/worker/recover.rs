//! Jobs that a worker left behind when it died: found again, judged by what is on the disk.

use anyhow::Result;

use super::gate::Intent;
use super::{Worker, verify};
use crate::fs::{remove_durably, write_atomically};
use crate::package::Database;
use crate::request::JobId;
use crate::state::job::{Job, JobStatus};
use crate::state::{self};
use crate::{journal, queue};

/// Remembers which jobs are in a worker's hands.
pub fn remember(worker: &Worker, jobs: &[Job]) -> Result<()> {
    let ids: Vec<&JobId> = jobs.iter().map(Job::id).collect();
    write_atomically(&path(worker), &serde_json::to_vec(&ids)?, 0o644)
}

/// No job is in a worker's hands any more.
pub fn forget(worker: &Worker) -> Result<()> {
    remove_durably(&path(worker))
}

/// Ends what a dead worker began. A job without an intent changed nothing and goes back into the
/// queue; one with an intent is judged by the package database and never applied again.
pub fn run(worker: &Worker) -> Result<()> {
    let Some(ids): Option<Vec<JobId>> = state::read(&path(worker)) else {
        return Ok(());
    };
    let mut ended = Vec::new();
    for id in ids {
        let Some(mut job) = Job::load(&worker.paths, &id)? else {
            continue;
        };
        if job.status.is_final() {
            continue;
        }
        let intent = Intent::load(&worker.paths, &job.transaction).unwrap_or(None);
        let phase = if intent.is_some() {
            "changing packages"
        } else {
            "preparing"
        };
        journal::job_interrupted(job.id(), phase);
        match intent {
            Some(Intent::Activated { changes }) => {
                let after = worker.packages.installed()?;
                let verdict = verify::verdict(&Database::new(), &after, &changes);
                let wrong: Vec<String> = verdict.wrong.into_iter().map(|(_, why)| why).collect();
                job.notes
                    .push("the worker was interrupted while it changed packages".to_owned());
                job.changes = changes;
                job.status = if wrong.is_empty() {
                    JobStatus::Succeeded
                } else {
                    JobStatus::Failed
                };
                job.error = (!wrong.is_empty()).then(|| wrong.join("; "));
                ended.push(job);
            }
            _ => queue::put_back(&worker.paths, &job)?,
        }
    }
    worker.record(&mut ended)?;
    forget(worker)
}

fn path(worker: &Worker) -> std::path::PathBuf {
    worker.paths.state().join("running.json")
}
