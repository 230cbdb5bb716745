//! Records of jobs that have not ended and that no worker has: the list of what workers had in hand was lost, or
//! was replaced by an older one, after a worker had died.
//!
//! A job that the gate let through is finished as any interrupted one, as long as the package database still fits
//! its change list. Of any other, nobody can tell how long it has lain there: it ends, and is not begun again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow};

use super::gate::Intent;
use super::lifecycle::Event;
use super::update::Update;
use super::{recover, rollback, settle};
use crate::package::{Change, Database, Former, Key};
use crate::paths::{Paths, quoted};
use crate::queue::{self, Mark};
use crate::request::JobId;
use crate::sorted;
use crate::state;
use crate::state::job::{self, Job, JobStatus};
use crate::state::update::Phase;
use crate::worker::bookkeeping::context::Context;
use crate::worker::jobs::record;

/// What such a job ends with.
const LOST: &str = "the worker that had it is gone, and so is the note that it had it (state/running.json); \
    its records show no change of a package; ask for it again";

/// Whether a worker has looked for them: while it has the lock, no more can appear.
#[derive(Debug, Default)]
pub struct Looked(AtomicBool);

/// The jobs that are in no hands but not ended. `listed` are those that a worker is known to have had.
pub fn find(ctx: &Context, listed: &[JobId]) -> Vec<JobId> {
    let paths = &ctx.paths;
    let mut suspects = queue::marked(paths);
    if !ctx.orphans.0.load(Ordering::Relaxed) {
        suspects.extend(written_since(paths));
    }
    sorted::sort(&mut suspects);
    suspects.dedup();
    suspects.retain(|id| !listed.contains(id) && is_one(paths, id));
    suspects
}

/// Whether there is one, for a program that only asks for a worker then.
pub fn any(paths: &Paths) -> bool {
    let listed = recover::listed(paths).ok().flatten().unwrap_or_default();
    let mut suspects = written_since(paths).into_iter();
    suspects.any(|id| !listed.contains(&id) && is_one(paths, &id))
}

/// What there was of them is dealt with: the next worker looks at what was written since then.
pub fn looked(ctx: &Context) -> Result<()> {
    if ctx.orphans.0.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let mark = mark(&ctx.paths);
    // whatever was written before a moment ago has been seen; this worker's own records may be read once more
    fs::write(&mark, "").with_context(|| format!("failed to write {}", quoted(&mark)))
}

/// The records whose files were written after the last look; all after a boot, and where the clock was set back.
fn written_since(paths: &Paths) -> Vec<JobId> {
    let dated = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.map_or((0, 0), |since| (since.as_secs(), since.subsec_nanos()))
    };
    let looked = fs::metadata(mark(paths)).and_then(|mark| mark.modified());
    let looked = looked.ok().filter(|looked| *looked <= SystemTime::now());
    let ids = job::ids(&paths.jobs());
    let Some(looked) = looked.map(dated) else {
        return ids;
    };
    // by the inode's own date, which no copy can keep
    let is_new = |id: &JobId| {
        let record = fs::metadata(job::record(paths, id));
        record.is_ok_and(|m| {
            let seconds = u64::try_from(m.ctime()).unwrap_or(0);
            let nanoseconds = u32::try_from(m.ctime_nsec()).unwrap_or(0);
            (seconds, nanoseconds) >= looked
        })
    };
    ids.into_iter().filter(is_new).collect()
}

/// Whether the record of the job has not ended, and nothing will come back to it: neither an entry in the queue,
/// nor the time when deferred jobs are tried again.
fn is_one(paths: &Paths, id: &JobId) -> bool {
    let record: Result<Option<Job>, String> = state::try_read(&job::record(paths, id));
    let Ok(Some(job)) = record else {
        return false;
    };
    !job.status.is_final()
        && job.id() == id
        && !queue::is_waiting(paths, id)
        && !job::deferred(paths, id).exists()
}

/// Ends those among the jobs of a transaction that are not to be judged; the other jobs. No package manager of
/// theirs is at work any more.
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
        Some((changes, former)) => {
            let now = ctx.packages.installed()?;
            let Some(other) = changed_since(&changes, &now) else {
                return Ok([ended, left].concat());
            };
            let done = recover::done(&changes, &now);
            recover::enter(transaction, &mut ended, &done, &former);
            other
        }
    };
    for job in &mut ended {
        let cancelled = why == LOST && Mark::Cancel.is_left(&ctx.paths, job.id());
        if cancelled {
            job.status = JobStatus::Cancelled;
            settle::add(&mut job.notes, &[LOST.to_owned()]);
        } else {
            settle::fail(job, &anyhow!("{why}"));
            job.update.phase = Phase::Failed;
            job.update.last_error.clone_from(&job.error);
        }
        queue::hold::unhold(&ctx.paths, job.id())?;
    }
    end_update(ctx, &ended, &why);
    record::finish(ctx, &mut ended)?;
    Ok(left)
}

/// What the gate let through of the transaction, on its way there or back.
fn let_through(ctx: &Context, transaction: &JobId) -> Result<Option<(Vec<Change>, Vec<Former>)>> {
    if let Some(intent) = rollback::Intent::load(&ctx.paths, transaction)? {
        let changes = intent.former.iter().map(|f| f.change.clone()).collect();
        return Ok(Some((changes, intent.former)));
    }
    Ok(match recover::intent_of(ctx, transaction) {
        Some(Intent::Activated { changes, former }) => Some((changes, former)),
        _ => None,
    })
}

/// What somebody else has made of these changes since, in a sentence; none while each package has its former or
/// its new version: pure.
fn changed_since(changes: &[Change], now: &Database) -> Option<String> {
    let other = changes.iter().find(|change| {
        let version = |key: &Key| now.get(key).map(|installed| &installed.version);
        version(&change.former_key()) != change.from.as_ref()
            && version(&change.key()) != change.to.as_ref()
    })?;
    let shown = |version: Option<&String>| version.map_or("none", String::as_str).to_owned();
    let installed = now.get(&other.key()).map(|installed| &installed.version);
    Some(format!(
        "the worker that had it is gone, and so is the note that it had it (state/running.json); {}, which it \
         changed from {} to {}, has been changed since then ({} is installed), so that it is neither judged nor \
         undone",
        other.key(),
        shown(other.from.as_ref()),
        shown(other.to.as_ref()),
        shown(installed),
    ))
}

/// The state of the host's latest update, which may be that of one of these jobs, ends with them.
fn end_update(ctx: &Context, ended: &[Job], why: &str) {
    let mut update = Update::latest(ctx);
    let phase = update.state.phase;
    if phase.is_final() || matches!(phase, Phase::Idle | Phase::Staged) {
        return;
    }
    let is_cancelled = ended.iter().all(|job| job.status == JobStatus::Cancelled);
    if phase == Phase::Activated {
        let _ = update.step(Event::Verify);
        update.fail(why);
    } else if is_cancelled && phase != Phase::Verifying {
        update.cancel();
    } else {
        update.fail(why);
    }
}

/// What is there since the last look.
fn mark(paths: &Paths) -> PathBuf {
    paths.run().join("looked-for-orphans")
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
