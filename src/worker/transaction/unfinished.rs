//! Updates that are done in parts, because the worker or the host went away between them.

use anyhow::Result;

use crate::package::{KeptBack, TransactionEnd, TransactionReport};
use crate::request::JobId;
use crate::state::job::Job;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::phase::{self, CurrentUpdate};
use crate::worker::bookkeeping::{errors, in_flight};
use crate::worker::model::partial::{AppliedSoFar, Approved};
use crate::worker::model::selection;
use crate::worker::monitor::progress;
use crate::worker::steps::hold_off;
use crate::worker::steps::verify::Baseline;
use crate::worker::transaction::conclude::conclude;
use crate::worker::transaction::finish::{JobsEnd, finish_jobs};
use crate::worker::transaction::outcome::TransactionOutcome;

/// What jobs applied before they were requeued, and no more of which is done.
pub struct AppliedPart<'a> {
    pub jobs: &'a [Job],
    pub so_far: AppliedSoFar,
    pub kept_back: Vec<KeptBack>,
    /// Why the rest is not done; none if nothing is left to do.
    pub unfinished: Option<&'a str>,
}

/// Judges a part that was applied before as if it were the whole transaction.
pub fn judge(
    ctx: &Context,
    transaction: &JobId,
    part: AppliedPart<'_>,
    update: &mut CurrentUpdate<'_>,
) -> Result<TransactionOutcome> {
    let AppliedPart {
        jobs,
        so_far,
        kept_back,
        unfinished,
    } = part;
    let before = Baseline::first_part(ctx, transaction, jobs, &so_far.changes)?;
    let _held_off = hold_off::hold_off(ctx, &format!("job {transaction} is verified"));
    update.resumed(&so_far.changes);
    progress::verifying(ctx, transaction);
    let applied = TransactionReport {
        ended: TransactionEnd::Done,
        kept_back,
        notes: Vec::new(),
        failures: Vec::new(),
        displaced: false,
        interrupted: true,
    };
    let approved = Approved {
        changes: so_far.changes,
        former: so_far.former,
    };
    let mut outcome = conclude(ctx, transaction, &before, approved, applied, update)?;
    if let TransactionOutcome::Changed(concluded) = &mut outcome {
        concluded.unfinished = unfinished.map(str::to_owned);
    }
    Ok(outcome)
}

/// Ends jobs of which no more is done, for the reason `why`: what is done stays on the host, so it has to be
/// good for it.
pub fn end(ctx: &Context, mut jobs: Vec<Job>, why: &str) -> Vec<Job> {
    let Some(transaction) = jobs.first().map(|job| job.id().clone()) else {
        return jobs;
    };
    let mut update = phase::begin(ctx, &selection::target_of(&jobs));
    let judged = in_flight::assign_transaction(ctx, &mut jobs, &transaction).and_then(|()| {
        let part = AppliedPart {
            jobs: &jobs,
            so_far: AppliedSoFar::of(&jobs),
            kept_back: Vec::new(),
            unfinished: Some(why),
        };
        judge(ctx, &transaction, part, &mut update)
    });
    let mut finish = |end| finish_jobs(ctx, &mut jobs, &end, &mut update);
    match judged {
        Ok(outcome) => finish(JobsEnd::TransactionOutcome {
            outcome: &outcome,
            self_package_follows: false,
        }),
        // the next worker judges it
        Err(error) if error.is::<errors::DeferredToNextBoot>() => {
            tracing::warn!("left to the next worker to verify: {error:#}");
        }
        Err(error) => {
            let error =
                anyhow::anyhow!("{why}; what was done before could not be verified: {error:#}");
            finish(JobsEnd::Failure { why, error: &error });
        }
    }
    jobs
}
