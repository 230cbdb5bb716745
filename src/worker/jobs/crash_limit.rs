//! Crash limit: a job whose worker died five times is recorded as failed instead of being retried.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use anyhow::{Result, anyhow};

use crate::request::JobId;
use crate::state::job::Job;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::intent::{self, Intent};
use crate::worker::bookkeeping::job_result;
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::jobs::record;
use crate::worker::model::partial;
use crate::worker::transaction::finish::{JobsEnd, finish_jobs};

/// How many workers may die with a job. The second one starts at once, each further one five minutes later
/// (`RestartSec=` of patch-recover.service).
const LIMIT: u32 = 5;

/// Counts the worker that died in the record of each of its jobs.
pub fn count(ctx: &Context, transactions: &mut BTreeMap<JobId, Vec<Job>>) -> Result<()> {
    if ctx.crashes.0.load(Ordering::Relaxed) {
        return Ok(());
    }
    for jobs in transactions.values_mut() {
        jobs.iter_mut().for_each(|job| job.crashes += 1);
        Job::save_all(&ctx.paths, jobs)?;
    }
    ctx.crashes.0.store(true, Ordering::Relaxed);
    Ok(())
}

/// Fails the jobs that have reached the limit, with the changes that the package database shows, and returns the
/// others. Nothing is repaired, verified or rolled back: one of these may be what the workers die of.
pub fn give_up(ctx: &Context, transaction: &JobId, jobs: Vec<Job>) -> Result<Vec<Job>> {
    let (mut ended, left): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.crashes >= LIMIT);
    if ended.is_empty() {
        return Ok(left);
    }
    let intent = intent::intent_of(ctx, transaction);
    let mut update = match (intent, ctx.packages.installed()) {
        (Some(Intent::Activated { changes, former }), Ok(now)) => {
            let done = partial::done(&changes, &now);
            job_result::record_applied(transaction, &mut ended, &done, &former);
            CurrentUpdate::resume(ctx, &changes)
        }
        _ => CurrentUpdate::resume(ctx, &[]),
    };
    // only the package database was read
    update.verify();
    let why = anyhow!(
        "{LIMIT} workers died or could not continue while they had it; the job is not tried again: \
             \"journalctl -u 'patch-*'\" says how each ended"
    );
    let end = JobsEnd::Failure {
        why: &format!("{why:#}"),
        error: &why,
    };
    finish_jobs(ctx, &mut ended, &end, &mut update);
    record::finish(ctx, &mut ended)?;
    Ok(left)
}
