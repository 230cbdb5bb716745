//! The durable queue: submit, claim, refuse. The directory is the border of trust.

pub mod command;
mod entries;
mod idempotency;
pub mod inquiry;
mod mark;
pub mod owners;
pub mod parked;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

pub use command::WorkerCommand;
pub use entries::{MAX_WAITING, is_waiting, length};
pub use idempotency::KeyUsed;
pub use mark::Decision;

use self::entries::{names, refuse, shown};
use crate::fs::{Unreadable, ensure_directory, read_untrusted, remove_all_durably, rename_durably};
use crate::paths::Paths;
use crate::request::{JobId, MAX_ENTRY_BYTES, Request};
use crate::state::job::Job;

/// The most requests that are claimed at once: what bounds the worker's memory.
const BATCH: usize = 1000;

/// What was found in the queue.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The requests, as jobs, in the order of arrival.
    pub jobs: Vec<Job>,
    /// Decisions about jobs that exist already.
    pub marks: Vec<(Decision, JobId)>,
    /// Commands to the worker, and the names of their entries.
    pub orders: Vec<(WorkerCommand, OsString)>,
}

/// Puts a request into the queue, durably: when this returns, a power cut loses nothing; when it
/// fails, nothing is left. The id of the job, which is an earlier one's when the request repeats it. The error
/// is [`KeyUsed`] when its idempotency key stands for another request.
pub fn submit(paths: &Paths, request: &Request) -> Result<JobId> {
    anyhow::ensure!(
        length(paths) < MAX_WAITING,
        "{MAX_WAITING} requests wait already"
    );
    match idempotency::resolve(paths, request)? {
        idempotency::Resolved::Repeated(id) => Ok(id),
        idempotency::Resolved::New(id) => enqueue(paths, request).map(|()| id),
    }
}

fn enqueue(paths: &Paths, request: &Request) -> Result<()> {
    let name = format!("{}.json", request.id);
    let (prepared, queued) = (paths.tmp().join(&name), paths.queue().join(&name));
    let bytes = serde_json::to_vec(request)?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_ENTRY_BYTES,
        "the request is larger than {MAX_ENTRY_BYTES} bytes",
    );
    crate::fs::write_atomically(&prepared, &bytes, 0o640)
        .and_then(|()| rename_durably(&prepared, &queued))
        .inspect_err(|_| {
            let _ = fs::remove_file(&prepared);
        })
        .context("the request could not be queued")
}

/// The directories of the queue and the records, made when missing and as tmpfiles.d says: a host without the
/// account of the front ends has them owned by root alone.
pub fn prepare(paths: &Paths) -> Result<()> {
    for directory in paths.directories() {
        let private = [
            paths.tmp(),
            paths.queue(),
            paths.inquiries(),
            paths.refused(),
            paths.jobs(),
        ];
        let mode = if private.contains(&directory) {
            0o750
        } else {
            0o755
        };
        ensure_directory(&directory, mode)?;
    }
    owners::mend(paths);
    Ok(())
}

/// The request of this job, while it waits and is one.
#[must_use]
pub fn entry(paths: &Paths, id: &JobId) -> Option<Request> {
    parse(paths, OsStr::new(&format!("{id}.json"))).ok()
}

/// The jobs about which there is a decision, in no order.
#[must_use]
pub fn marked(paths: &Paths) -> Vec<JobId> {
    let entries = fs::read_dir(paths.queue()).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| Some(Decision::parse(&entry.file_name())?.1);
    entries.filter_map(of).collect()
}

/// Takes the waiting requests, in the order of arrival. Each gets a record, and all are written down as in flight,
/// before the first entry is removed: a crash in between leaves a job in both places, never in none. An entry that is
/// not a request is moved away, logged, and never read again.
pub fn claim(paths: &Paths, remember: impl FnOnce(&[Job]) -> Result<()>) -> Result<Claimed> {
    let (mut claimed, mut taken) = (Claimed::default(), Vec::new());
    for name in names(paths)? {
        let (mark, order) = (Decision::parse(&name), WorkerCommand::parse(&name));
        if mark.is_some() || order.is_some() {
            match paths.queue().join(&name).symlink_metadata() {
                Ok(metadata) if metadata.is_file() => {
                    claimed.marks.extend(mark);
                    claimed.orders.extend(order.map(|order| (order, name)));
                }
                Ok(_) => refuse(paths, &name, "it is not a regular file")?,
                Err(_) => {}
            }
            continue;
        }
        if taken.len() == BATCH {
            continue;
        }
        match parse(paths, &name) {
            Ok(request) => {
                claimed.jobs.extend(unserved(paths, request));
                taken.push(name);
            }
            Err(Unreadable::Gone) => {}
            Err(Unreadable::Refused(why)) => refuse(paths, &name, &why)?,
            Err(Unreadable::Failed(error)) => {
                return Err(error)
                    .with_context(|| format!("failed to read the request {}", shown(&name)));
            }
        }
    }
    if !claimed.jobs.is_empty() {
        Job::save_all(paths, &claimed.jobs)?;
        remember(&claimed.jobs)?;
    }
    remove_all_durably(&paths.queue(), &taken)?;
    Ok(claimed)
}

/// Puts a job that was taken before back into the queue, however many wait there: it was accepted once.
pub fn requeue(paths: &Paths, job: &Job) -> Result<()> {
    let name = OsString::from(format!("{}.json", job.id()));
    let there = paths.queue().join(&name).symlink_metadata();
    if there.is_ok_and(|metadata| metadata.is_dir()) {
        refuse(paths, &name, "it is in the way of a request")?;
    }
    enqueue(paths, &job.request)
}

fn parse(paths: &Paths, name: &OsStr) -> Result<Request, Unreadable> {
    let refused = |why: String| Unreadable::Refused(why);
    let id = name
        .to_str()
        .and_then(|name| name.strip_suffix(".json"))
        .ok_or_else(|| refused("its name is not a job id and '.json'".to_owned()))?;
    let id: JobId = id.parse().map_err(|error| refused(format!("{error:#}")))?;
    let bytes = read_untrusted(&paths.queue(), Path::new(name), MAX_ENTRY_BYTES)?;
    Request::parse(&id, &bytes).map_err(|error| refused(format!("{error:#}")))
}

/// The job of a claimed request; `None` when it was served before, and only its entry stayed. One that
/// was interrupted after a part of it was done knows that part.
fn unserved(paths: &Paths, request: Request) -> Option<Job> {
    match Job::taken(paths, &request.id) {
        Some(job) if job.status.is_final() => None,
        Some(job) => Some(job.requeued_record()),
        None => Some(Job::new(request)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Options, Requester, Target};

    fn host() -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        prepare(&paths).unwrap();
        (root, paths)
    }

    fn request() -> Request {
        Request::apply(Target::All, Options::default(), Requester::at("test", None)).unwrap()
    }

    #[test]
    fn requests_are_claimed_in_order_and_once() {
        let (_root, paths) = host();
        let requests = [request(), request(), request()];
        for request in &requests {
            submit(&paths, request).unwrap();
        }
        assert_eq!(length(&paths), 3);
        let claimed = claim(&paths, |_| Ok(())).unwrap().jobs;
        let ids = |jobs: &[Job]| jobs.iter().map(|job| job.id().clone()).collect::<Vec<_>>();
        assert!(claimed.is_sorted_by_key(|job| job.id().as_str()[..16].to_owned()));
        assert_eq!(claimed.len(), 3);
        assert_eq!(length(&paths), 0);
        assert!(claim(&paths, |_| Ok(())).unwrap().jobs.is_empty());
        assert!(
            ids(&claimed)
                .iter()
                .all(|id| Job::load(&paths, id).unwrap().is_some())
        );
    }

    #[test]
    fn a_request_that_cannot_be_remembered_stays_in_the_queue() {
        let (_root, paths) = host();
        let request = request();
        submit(&paths, &request).unwrap();
        assert!(claim(&paths, |_| anyhow::bail!("the disk is full")).is_err());
        assert_eq!(length(&paths), 1);
        let remembered = |jobs: &[Job]| {
            assert_eq!(
                (jobs.len(), length(&paths)),
                (1, 1),
                "remembered before it goes"
            );
            Ok(())
        };
        assert_eq!(claim(&paths, remembered).unwrap().jobs[0].request, request);
        assert_eq!(length(&paths), 0);
    }

    #[test]
    fn what_is_not_a_request_is_moved_away() {
        let (_root, paths) = host();
        let entry = |name: &str| paths.queue().join(name);
        let good = request();
        submit(&paths, &good).unwrap();
        fs::write(entry("nonsense"), "x").unwrap();
        fs::write(entry("0123456789abcdef-abcdef.json"), "{}").unwrap();
        fs::create_dir(entry("0123456789abcdef-000000.json")).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", entry("0123456789abcdef-000001.json")).unwrap();
        fs::write(entry(".hidden"), "x").unwrap();
        let jobs = claim(&paths, |_| Ok(())).unwrap().jobs;
        assert_eq!(jobs.len(), 1);
        assert_eq!(fs::read_dir(paths.refused()).unwrap().count(), 4);
        assert_eq!(length(&paths), 0);
        let long = "x".repeat(255);
        for names in [
            [&long, "nonsense"],
            [&long, "0123456789abcdef-abcdef.cancel"],
        ] {
            fs::write(entry(names[0]), "again").unwrap();
            fs::create_dir(entry(names[1])).unwrap();
            claim(&paths, |_| Ok(())).unwrap();
        }
        assert_eq!(fs::read_dir(paths.refused()).unwrap().count(), 8);
        assert_eq!(length(&paths), 0);
    }

    #[test]
    fn a_directory_is_neither_an_order_nor_a_decision() {
        let (_root, paths) = host();
        let id = JobId::new().unwrap();
        let names = ["acknowledge-all", "reboot-0", "cancel"].map(|word| format!("{id}.{word}"));
        for name in &names {
            fs::create_dir(paths.queue().join(name)).unwrap();
        }
        let claimed = claim(&paths, |_| Ok(())).unwrap();
        assert!(claimed.orders.is_empty() && claimed.marks.is_empty());
        assert_eq!(length(&paths), 0);
        // made after the queue was read
        for name in &names {
            fs::create_dir(paths.queue().join(name)).unwrap();
        }
        let orders = [&names[0], &names[1]].map(OsString::from);
        command::remove(&paths, &[&orders[0], &orders[1]]).unwrap();
        Decision::Cancel.remove(&paths, &id).unwrap();
        assert_eq!(length(&paths), 0);
        assert_eq!(fs::read_dir(paths.refused()).unwrap().count(), 6);
    }

    #[test]
    fn a_job_that_was_taken_comes_back_whatever_is_in_its_way() {
        let (_root, paths) = host();
        let job = Job::new(request());
        fs::create_dir(paths.queue().join(format!("{}.json", job.id()))).unwrap();
        requeue(&paths, &job).unwrap();
        assert_eq!(claim(&paths, |_| Ok(())).unwrap().jobs.len(), 1);
        assert_eq!(fs::read_dir(paths.refused()).unwrap().count(), 1);
    }

    #[test]
    fn an_entry_that_was_served_is_not_served_again() {
        let (_root, paths) = host();
        let request = request();
        let mut job = Job::new(request.clone());
        job.status = crate::state::job::JobStatus::Succeeded;
        job.save(&paths).unwrap();
        submit(&paths, &request).unwrap();
        assert!(claim(&paths, |_| Ok(())).unwrap().jobs.is_empty());
        assert_eq!(length(&paths), 0);
    }
}
