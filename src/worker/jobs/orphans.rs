//! Orphans: jobs that have not ended and are not in flight, because the list of jobs in flight was lost, or an
//! older one took its place, after a worker had died.
//!
//! A job that the gate let through is finished as any interrupted one, as long as the package database still fits
//! its change list. Any other orphan may be of any age: it is recorded as failed, and not started again.

use std::fs;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, anyhow};

use crate::package::{Change, Database, PackageId};
use crate::paths::quoted;
use crate::queue::{self, Decision};
use crate::request::JobId;
use crate::sorted;
use crate::state::job::{Job, JobStatus};
use crate::state::life::JobEvent;
use crate::state::update::Phase;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::in_flight::{is_orphan, search_stamp, written_since};
use crate::worker::bookkeeping::intent::{self, Intent};
use crate::worker::bookkeeping::job_result;
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::jobs::record;
use crate::worker::model::partial::{self, Approved};
use crate::worker::steps::rollback;

/// The error of an orphan without changes.
const LOST: &str = "its worker is gone, and so is the list of running jobs (state/running.json); no package was changed; ask for it again";

/// The orphans. `listed` are the jobs in flight.
pub fn find(ctx: &Context, listed: &[JobId]) -> Vec<JobId> {
    let paths = &ctx.paths;
    let mut suspects = queue::marked(paths);
    if !ctx.orphans.0.load(Ordering::Relaxed) {
        suspects.extend(written_since(paths));
    }
    sorted::sort(&mut suspects);
    suspects.dedup();
    suspects.retain(|id| !listed.contains(id) && is_orphan(paths, id));
    suspects
}

/// All orphans so far are dealt with: the next worker reads only the records written since then.
pub fn looked(ctx: &Context) -> Result<()> {
    if ctx.orphans.0.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let stamp = search_stamp(&ctx.paths);
    // records written before this moment were read; this worker's own records may be read once more
    fs::write(&stamp, "").with_context(|| format!("failed to write {}", quoted(&stamp)))
}

/// Ends those orphans among the jobs of a transaction that are not to be judged, and returns the other jobs. Their
/// package manager must have ended before.
pub fn end(
    ctx: &Context,
    transaction: &JobId,
    jobs: Vec<Job>,
    orphans: &[JobId],
) -> Result<Vec<Job>> {
    let (mut ended, left): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| orphans.contains(job.id()));
    if ended.is_empty() {
        return Ok(left);
    }
    let why = match let_through(ctx, transaction)? {
        None => LOST.to_owned(),
        Some(Approved { changes, former }) => {
            let now = ctx.packages.installed()?;
            let Some(other) = changed_since(&changes, &now) else {
                return Ok([ended, left].concat());
            };
            let done = partial::done(&changes, &now);
            job_result::record_applied(transaction, &mut ended, &done, &former);
            other
        }
    };
    for job in &mut ended {
        let cancelled = why == LOST && Decision::Cancel.is_left(&ctx.paths, job.id());
        if cancelled {
            job_result::take(job, JobEvent::Cancel);
            partial::add(&mut job.notes, &[LOST.to_owned()]);
        } else {
            job_result::fail(job, &anyhow!("{why}"));
            job.update.phase = Phase::Failed;
            job.update.last_error.clone_from(&job.error);
        }
        queue::parked::unhold(&ctx.paths, job.id())?;
    }
    end_update(ctx, &ended, &why);
    record::finish(ctx, &mut ended)?;
    Ok(left)
}

/// What the gate let through for the transaction or for its rollback.
fn let_through(ctx: &Context, transaction: &JobId) -> Result<Option<Approved>> {
    if let Some(intent) = rollback::Intent::load(&ctx.paths, transaction)? {
        let changes = intent.former.iter().map(|f| f.change.clone()).collect();
        let former = intent.former;
        return Ok(Some(Approved { changes, former }));
    }
    Ok(match intent::intent_of(ctx, transaction) {
        Some(Intent::Activated { changes, former }) => Some(Approved { changes, former }),
        _ => None,
    })
}

/// What another program has made of these changes since, in a sentence; none while each package has its former or
/// its new version: pure.
fn changed_since(changes: &[Change], now: &Database) -> Option<String> {
    let other = changes.iter().find(|change| {
        let version = |key: &PackageId| now.get(key).map(|installed| &installed.version);
        version(&change.former_key()) != change.from.as_ref()
            && version(&change.key()) != change.to.as_ref()
    })?;
    let shown = |version: Option<&String>| version.map_or("none", String::as_str).to_owned();
    let installed = now.get(&other.key()).map(|installed| &installed.version);
    Some(format!(
        "its worker is gone, and so is the list of running jobs (state/running.json); {}, which it \
         changed from {} to {}, has been changed since then ({} is installed), so the job is neither verified nor undone",
        other.key(),
        shown(other.from.as_ref()),
        shown(other.to.as_ref()),
        shown(installed),
    ))
}

/// Ends the host's latest update, if it has not ended: it may be that of one of these jobs.
fn end_update(ctx: &Context, ended: &[Job], why: &str) {
    let mut update = CurrentUpdate::latest(ctx);
    let phase = update.state.phase;
    if phase.is_final() || matches!(phase, Phase::Idle | Phase::Staged) {
        return;
    }
    let is_cancelled = ended.iter().all(|job| job.status == JobStatus::Cancelled);
    if phase == Phase::Activated {
        update.verify();
        update.fail(why);
    } else if is_cancelled && phase != Phase::Verifying {
        update.cancel();
    } else {
        update.fail(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Installed;

    #[test]
    fn what_fits_its_change_list_is_judged_and_nothing_else() {
        let change = |from: Option<&str>| Change {
            package: "a".into(),
            architecture: "all".into(),
            from: from.map(Into::into),
            to: Some("2".into()),
            ..Change::default()
        };
        let now = |version: &str| {
            let installed = Installed {
                version: version.into(),
                ..Installed::default()
            };
            Database::from([(change(None).key(), installed)])
        };
        assert_eq!(changed_since(&[change(Some("1"))], &now("1")), None);
        assert_eq!(changed_since(&[change(Some("1"))], &now("2")), None);
        assert_eq!(changed_since(&[change(None)], &Database::new()), None);
        let why = changed_since(&[change(Some("1"))], &now("3")).unwrap();
        assert!(
            why.contains("a:all, which it changed from 1 to 2, has been changed since then (3")
        );
        assert!(changed_since(&[change(Some("1"))], &Database::new()).is_some());
    }
}
