//! Recording jobs that have ended: in their records, and in the journal.

use anyhow::Result;

use crate::journal;
use crate::queue::Decision;
use crate::request::Target;
use crate::state::job::{Job, JobStatus};
use crate::state::kept_back::Told;
use crate::state::life::{JobEvent, JobLife};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::{alerts, job_result};
use crate::worker::steps::{rollback, verify};

/// Writes the records of jobs that have just ended, and says so in the journal.
pub fn finish(ctx: &Context, jobs: &mut [Job]) -> Result<()> {
    let ended = end(ctx, jobs);
    let alerts = alerts::settled(ctx, &ended);
    record_ended(ctx, &ended)?;
    alerts.iter().for_each(alerts::announce);
    Ok(())
}

/// The same for jobs that could not be meant: a caller's typing error says nothing of the host.
pub fn finish_refused(ctx: &Context, jobs: &mut [Job]) -> Result<()> {
    let ended = end(ctx, jobs);
    record_ended(ctx, &ended)
}

/// Ends the jobs that have come to their end and are not recorded yet; those.
fn end(ctx: &Context, jobs: &mut [Job]) -> Vec<Job> {
    let mut ended = Vec::new();
    for job in jobs.iter_mut() {
        // one that is recorded is not announced twice, and a parked one has its record elsewhere
        if matches!(job.life(), JobLife::Judged(_)) {
            job_result::take(job, JobEvent::Record);
            job.reached = job_result::is_reached(job);
            ctx.stalls.record(job);
            ended.push(job.clone());
        }
    }
    ended
}

fn record_ended(ctx: &Context, ended: &[Job]) -> Result<()> {
    if !ended.is_empty() {
        Job::save_all(&ctx.paths, ended)?;
    }
    for job in ended {
        Decision::Cancel.remove(&ctx.paths, job.id())?;
        verify::Baseline::forget(&ctx.paths, job.id());
        log_kept_back(ctx, job);
        for note in &job.notes {
            journal::job_note(job.id(), note);
        }
        match job.status {
            JobStatus::Succeeded => journal::job_succeeded(job.id(), &job.summary()),
            JobStatus::Cancelled => journal::job_cancelled(job.id()),
            _ => journal::job_failed(job.id(), job.error.as_deref().unwrap_or("unknown")),
        }
    }
    rollback::tidy_seen(&ctx.paths, ended);
    Ok(())
}

/// Names what a job has kept back in the journal, unless it is there already.
fn log_kept_back(ctx: &Context, job: &Job) {
    let before = Told::load(&ctx.paths);
    let mut told = before.clone();
    let everything =
        job.status == JobStatus::Succeeded && matches!(job.request.packages, Some(Target::All));
    for kept in told.news(&job.kept_back, everything) {
        journal::package_kept_back(job.id(), &kept.package, &kept.reason);
    }
    if told != before
        && let Err(error) = told.save(&ctx.paths)
    {
        tracing::warn!("{error:#}");
    }
}
