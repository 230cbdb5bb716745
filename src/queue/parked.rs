//! Parked jobs: they wait for the network, for the end of a shutdown, or for the administrator to resolve a conflict.

use std::ffi::OsString;
use std::fs;

use anyhow::Result;
use chrono::{DateTime, SecondsFormat, Utc};

use super::entries::is_waiting;
use super::mark::Decision;
use super::{Claimed, requeue};
use crate::fs::{remove_durably, rename_durably};
use crate::journal;
use crate::paths::Paths;
use crate::request::JobId;
use crate::sorted;
use crate::state;
use crate::state::job::{self, Job, JobStatus, WaitsFor};
use crate::state::life::JobEvent;

/// Parks a job until what it waits for has come. Its record is renamed, so that it is always in one place.
pub fn defer(paths: &Paths, job: &mut Job, waits_for: WaitsFor, why: &str) -> Result<()> {
    job.take(JobEvent::Defer)?;
    job.waits_for = Some(waits_for);
    job.error = Some(why.to_owned());
    job.save(paths)?;
    rename_durably(
        &job::record(paths, job.id()),
        &job::deferred(paths, job.id()),
    )?;
    match waits_for {
        WaitsFor::Network => journal::job_deferred(job.id(), why),
        WaitsFor::Shutdown => journal::job_awaits_shutdown(job.id(), why),
    }
    Ok(())
}

/// Parks a job whose preconditions no longer hold.
pub fn conflict(paths: &Paths, job: &mut Job, why: &str, now: DateTime<Utc>) -> Result<()> {
    job.take(JobEvent::Conflict)?;
    job.error = Some(why.to_owned());
    job.save(paths)?;
    // 20251121T090604Z
    let time = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let time = time.replace(['-', ':'], "");
    let name = format!("{}.conflict-{time}.json", job.id());
    rename_durably(&job::record(paths, job.id()), &paths.conflicts().join(name))?;
    journal::job_conflict(job.id(), why);
    Ok(())
}

/// Whether any job is deferred.
#[must_use]
pub fn any_deferred(paths: &Paths) -> bool {
    !job::ids(&paths.deferred()).is_empty()
}

/// Puts every deferred job back into the queue, in the order of arrival, but for those that wait for a
/// shutdown while there `is_shutdown` ahead; how many. One whose record cannot be read, such as that of a newer
/// version of this program, is refused as an entry like it would be.
pub fn release(paths: &Paths, is_shutdown: bool) -> Result<usize> {
    let mut ids = job::ids(&paths.deferred());
    sorted::sort(&mut ids);
    let mut released = 0;
    for id in &ids {
        let held = job::deferred(paths, id);
        match state::try_read::<Job>(&held) {
            Ok(Some(job)) if is_shutdown && job.waits_for == Some(WaitsFor::Shutdown) => {}
            Ok(Some(job)) => {
                requeue(paths, &job)?;
                remove_durably(&held)?;
                released += 1;
            }
            Ok(None) => {}
            // tried again and again it would be for ever, and it must not keep the others from their turn
            Err(why) => {
                journal::request_refused(&format!("the deferred job {id}"), &why);
                rename_durably(&held, &paths.refused().join(format!("{id}.json")))?;
            }
        }
    }
    Ok(released)
}

/// The jobs in conflict, oldest first.
#[must_use]
pub fn conflicts(paths: &Paths) -> Vec<Job> {
    let directory = paths.conflicts();
    let names = fs::read_dir(&directory).into_iter().flatten().flatten();
    let mut names: Vec<OsString> = names.map(|entry| entry.file_name()).collect();
    sorted::sort(&mut names);
    let record = |name| state::read(&directory.join(name));
    let jobs = names.iter().filter_map(record);
    // one that has a record elsewhere, too, was resolved, and a crash came before it was taken away
    jobs.filter(|job: &Job| !job::record(paths, job.id()).exists())
        .collect()
}

/// Applies decisions to parked jobs; how many were removed. A decision about a job that was just claimed, or still
/// waits in the queue, is left for the worker that serves it. One about a job that has ended, or that does not exist,
/// is removed.
pub fn apply_decisions(paths: &Paths, claimed: &Claimed) -> Result<usize> {
    let mut settled = 0;
    for (mark, id) in &claimed.marks {
        let job = Job::find(paths, id).unwrap_or_else(|error| {
            // the decision cannot be applied, and the others must not wait for it
            journal::request_refused(
                &format!("the mark {}", mark.suffix()),
                &format!("{error:#}"),
            );
            None
        });
        match (mark, job) {
            (Decision::Cancel, Some(job)) if job.status == JobStatus::Deferred => {
                let what = match job.waits_for {
                    Some(WaitsFor::Shutdown) => "a shutdown",
                    _ => "the network",
                };
                let note = format!("cancelled while it waited for {what}");
                end(paths, job, &note)?;
            }
            (Decision::Discard | Decision::Cancel, Some(job))
                if job.status == JobStatus::Conflict =>
            {
                end(paths, job, "its conflict was resolved by discarding it")?;
            }
            (Decision::Apply, Some(mut job)) if job.status == JobStatus::Conflict => {
                job.request.options = job.request.options.unconditional();
                requeue(paths, &job)?;
                unhold(paths, id)?;
            }
            // it has just been taken, or will be in a moment: then it is cancelled
            (Decision::Cancel, _) if claimed.jobs.iter().any(|job| job.id() == id) => continue,
            (Decision::Cancel, _) if is_waiting(paths, id) => continue,
            _ => {}
        }
        mark.remove(paths, id)?;
        settled += 1;
    }
    Ok(settled)
}

/// Ends a parked job; its record moves to those of all jobs that have ended.
fn end(paths: &Paths, mut job: Job, note: &str) -> Result<()> {
    job.take(JobEvent::Cancel)?;
    job.notes.push(note.to_owned());
    job.take(JobEvent::Record)?;
    job.save(paths)?;
    unhold(paths, job.id())?;
    journal::job_cancelled(job.id());
    Ok(())
}

/// Removes the record of a parked job that has another one by now.
pub fn unhold(paths: &Paths, id: &JobId) -> Result<()> {
    remove_durably(&job::deferred(paths, id))?;
    match job::conflict(paths, id) {
        Some(path) => remove_durably(&path),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{claim, length, prepare};
    use crate::request::{Options, Request, Requester, Target};

    fn host() -> (tempfile::TempDir, Paths, Job) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        prepare(&paths).unwrap();
        let requester = Requester::at("test", None);
        let request = Request::apply(Target::All, Options::default(), requester).unwrap();
        let job = Job::new(request);
        job.save(&paths).unwrap();
        (root, paths, job)
    }

    #[test]
    fn a_deferred_job_comes_back() {
        let (_root, paths, mut job) = host();
        defer(&paths, &mut job, WaitsFor::Network, "offline").unwrap();
        assert!(any_deferred(&paths) && !job::record(&paths, job.id()).exists());
        assert_eq!(
            Job::find(&paths, job.id()).unwrap().unwrap().status,
            JobStatus::Deferred
        );
        assert_eq!(release(&paths, false).unwrap(), 1);
        assert!(!any_deferred(&paths));
        assert_eq!(claim(&paths, |_| Ok(())).unwrap().jobs.len(), 1);
    }

    #[test]
    fn a_job_that_waits_for_a_shutdown_comes_back_when_there_is_none() {
        let (_root, paths, mut job) = host();
        defer(
            &paths,
            &mut job,
            WaitsFor::Shutdown,
            "a reboot is scheduled",
        )
        .unwrap();
        assert_eq!(release(&paths, true).unwrap(), 0);
        assert!(any_deferred(&paths));
        assert_eq!(release(&paths, false).unwrap(), 1);
        let claimed = claim(&paths, |_| Ok(())).unwrap().jobs;
        assert_eq!(claimed[0].waits_for, None);
    }

    #[test]
    fn a_held_job_that_cannot_be_read_holds_up_nobody() {
        let (_root, paths, mut job) = host();
        defer(&paths, &mut job, WaitsFor::Network, "offline").unwrap();
        let other = JobId::new().unwrap();
        let newer = r#"{"request":{"version":2},"status":"paused"}"#;
        fs::write(job::deferred(&paths, &other), newer).unwrap();
        assert_eq!(release(&paths, false).unwrap(), 1);
        assert!(!any_deferred(&paths));
        let refused = paths.refused().join(format!("{other}.json"));
        assert_eq!(fs::read_to_string(refused).unwrap(), newer);
        fs::write(job::record(&paths, &other), newer).unwrap();
        Decision::Cancel.leave(&paths, &other).unwrap();
        apply_decisions(&paths, &marked(Decision::Cancel, &other)).unwrap();
        assert!(!Decision::Cancel.is_left(&paths, &other));
        assert_eq!(
            fs::read_to_string(job::record(&paths, &other)).unwrap(),
            newer
        );
    }

    #[test]
    fn a_conflict_is_resolved_either_way() {
        for (mark, queued) in [
            (Decision::Apply, 1),
            (Decision::Discard, 0),
            (Decision::Cancel, 0),
        ] {
            let (_root, paths, mut job) = host();
            conflict(&paths, &mut job, "it changed", Utc::now()).unwrap();
            assert_eq!(conflicts(&paths).len(), 1);
            mark.leave(&paths, job.id()).unwrap();
            apply_decisions(&paths, &marked(mark, job.id())).unwrap();
            assert!(conflicts(&paths).is_empty());
            assert_eq!(length(&paths), queued, "{mark:?}");
        }
    }

    #[test]
    fn a_mark_on_a_job_that_was_just_taken_stays_and_any_other_goes() {
        let (_root, paths, job) = host();
        Decision::Cancel.leave(&paths, job.id()).unwrap();
        let mut taken = marked(Decision::Cancel, job.id());
        taken.jobs.push(job.clone());
        assert_eq!(apply_decisions(&paths, &taken).unwrap(), 0);
        assert!(Decision::Cancel.is_left(&paths, job.id()));
        requeue(&paths, &job).unwrap();
        let waiting = marked(Decision::Cancel, job.id());
        assert_eq!(apply_decisions(&paths, &waiting).unwrap(), 0);
        assert!(Decision::Cancel.is_left(&paths, job.id()));
        claim(&paths, |_| Ok(())).unwrap();
        for status in [JobStatus::Succeeded, JobStatus::Running] {
            let job = Job {
                status,
                ..job.clone()
            };
            job.save(&paths).unwrap();
            Decision::Cancel.leave(&paths, job.id()).unwrap();
            let nobodys = marked(Decision::Cancel, job.id());
            assert_eq!(apply_decisions(&paths, &nobodys).unwrap(), 1, "{status:?}");
            assert!(!Decision::Cancel.is_left(&paths, job.id()));
        }
    }

    fn marked(mark: Decision, id: &JobId) -> Claimed {
        Claimed {
            marks: vec![(mark, id.clone())],
            ..Claimed::default()
        }
    }
}
