//! `state/running.json`: the jobs in flight; and the orphans, which are in flight no more and have not ended.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;

use crate::fs::{remove_durably, write_atomically};
use crate::host::systemd;
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::job::{self, Job};
use crate::state::{self, at_work, progress};
use crate::worker::bookkeeping::context::Context;
use crate::{journal, queue};

/// Finishes what an interrupted worker left.
pub const RECOVERY: &str = "patch-recover.service";

/// Serves the queue, and finishes what it finds.
pub const WORKER: &str = "patch-apply.service";

/// Writes down which jobs are in flight.
pub fn remember<'a>(ctx: &Context, jobs: impl IntoIterator<Item = &'a Job>) -> Result<()> {
    let ids: Vec<&JobId> = jobs.into_iter().map(Job::id).collect();
    write_atomically(&ctx.paths.running(), &serde_json::to_vec(&ids)?, 0o644)
}

/// Has another worker started if jobs are in flight whose worker has died or gave up: they are in no queue, and
/// nothing else would return to them soon. A worker that is at work is waited for.
pub fn ask_for_another(paths: &Paths) {
    let unit = match paths.running().exists() {
        true => RECOVERY,
        // that one is for those that are listed
        false if has_orphans(paths) => WORKER,
        false => return,
    };
    let _ = systemd::start_unit_soon(unit.to_owned());
}

/// No job is in flight any more.
pub fn forget(ctx: &Context) -> Result<()> {
    remove_durably(&ctx.paths.running())?;
    at_work::end(&ctx.paths);
    progress::forget(&ctx.paths);
    Ok(())
}

/// The jobs in flight, of this worker or of a dead one; `None` without a list. If the list cannot be read, these are
/// all jobs that have a record.
pub fn ids(ctx: &Context) -> Option<Vec<JobId>> {
    match listed(&ctx.paths) {
        Ok(ids) => ids,
        Err(why) => {
            journal::state_unusable(&ctx.paths.running(), &why);
            Some(job::ids(&ctx.paths.jobs()))
        }
    }
}

/// Whether the job is in flight; also if the list cannot be read.
pub fn has(paths: &Paths, id: &JobId) -> bool {
    match listed(paths) {
        Ok(ids) => ids.is_some_and(|ids| ids.contains(id)),
        Err(_) => true,
    }
}

/// The list of the jobs in flight, if there is one.
pub fn listed(paths: &Paths) -> Result<Option<Vec<JobId>>, String> {
    state::try_read(&paths.running())
}

/// The jobs in flight that this transaction serves.
pub fn jobs_of(ctx: &Context, transaction: &JobId) -> Vec<Job> {
    let ids = ids(ctx).unwrap_or_default();
    let jobs = unfinished(ctx, &ids).remove(transaction);
    jobs.unwrap_or_default()
}

/// The jobs that have not ended, by the transaction that served them.
pub fn unfinished(ctx: &Context, ids: &[JobId]) -> BTreeMap<JobId, Vec<Job>> {
    let mut transactions: BTreeMap<JobId, Vec<Job>> = BTreeMap::new();
    for id in ids {
        if let Some(job) = Job::taken(&ctx.paths, id).filter(|job| !job.status.is_final()) {
            transactions
                .entry(job.transaction.clone())
                .or_default()
                .push(job);
        }
    }
    transactions
}

/// Names the transaction that serves each job; whether that is another one than before.
pub fn set_transaction(jobs: &mut [Job], transaction: impl Fn(&Job) -> JobId) -> bool {
    let mut moved = false;
    for job in jobs {
        let transaction = transaction(job);
        moved |= job.transaction != transaction;
        job.transaction = transaction;
    }
    moved
}

/// Has one transaction serve all jobs, and writes that down: after a crash, the next worker has to find the intent
/// of all of them, and no other.
pub fn assign_transaction(ctx: &Context, jobs: &mut [Job], transaction: &JobId) -> Result<()> {
    if set_transaction(jobs, |_| transaction.clone()) {
        Job::save_all(&ctx.paths, jobs)?;
    }
    Ok(())
}

/// Whether there is an orphan, for a program that starts a worker only then.
pub fn has_orphans(paths: &Paths) -> bool {
    let listed = listed(paths).ok().flatten().unwrap_or_default();
    let mut suspects = written_since(paths).into_iter();
    suspects.any(|id| !listed.contains(&id) && is_orphan(paths, &id))
}

/// The records written since the last search for orphans; all of them after a boot, or if the clock was set back.
pub fn written_since(paths: &Paths) -> Vec<JobId> {
    let dated = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        since.map_or((0, 0), |since| (since.as_secs(), since.subsec_nanos()))
    };
    let looked = fs::metadata(search_stamp(paths)).and_then(|mark| mark.modified());
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

/// Whether the job has a record, has not ended, and neither waits in the queue nor is deferred.
pub fn is_orphan(paths: &Paths, id: &JobId) -> bool {
    let record: Result<Option<Job>, String> = state::try_read(&job::record(paths, id));
    let Ok(Some(job)) = record else {
        return false;
    };
    !job.status.is_final()
        && job.id() == id
        && !queue::is_waiting(paths, id)
        && !job::deferred(paths, id).exists()
}

/// The file whose time is that of the last search for orphans.
pub fn search_stamp(paths: &Paths) -> PathBuf {
    paths.run().join("looked-for-orphans")
}
