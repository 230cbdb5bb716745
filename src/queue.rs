//! The durable queue: submit, claim, refuse. The directory is the border of trust.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::fs::{Unreadable, ensure_directory, read_untrusted, remove_durably, rename_durably};
use crate::journal;
use crate::paths::{Paths, quoted};
use crate::request::{JobId, MAX_ENTRY_BYTES, Request};
use crate::state::job::Job;

/// Puts a request into the queue, durably: when this returns, a power cut loses nothing; when it
/// fails, nothing is left.
pub fn submit(paths: &Paths, request: &Request) -> Result<()> {
    let name = format!("{}.json", request.id);
    let (prepared, queued) = (paths.tmp().join(&name), paths.queue().join(&name));
    let bytes = serde_json::to_vec(request)?;
    crate::fs::write_atomically(&prepared, &bytes, 0o640)
        .and_then(|()| rename_durably(&prepared, &queued))
        .inspect_err(|_| {
            let _ = fs::remove_file(&prepared);
        })
        .context("the request could not be queued")
}

/// The directories of the queue and the records, made when missing: a host without tmpfiles has
/// them from here, owned by root alone.
pub fn prepare(paths: &Paths) -> Result<()> {
    for directory in paths.directories() {
        let private = [paths.tmp(), paths.queue(), paths.refused(), paths.jobs()];
        let mode = if private.contains(&directory) {
            0o750
        } else {
            0o755
        };
        ensure_directory(&directory, mode)?;
    }
    Ok(())
}

/// The number of requests that wait.
#[must_use]
pub fn length(paths: &Paths) -> usize {
    names(paths).map_or(0, |names| names.len())
}

/// Takes every waiting request, in the order of arrival. Each is a record, and all are remembered as
/// being in a worker's hands, before the first entry goes: a crash in between leaves it in both places,
/// never in none. What is not a request is moved away, said in the journal, and never looked at again.
pub fn claim(paths: &Paths, remember: impl FnOnce(&[Job]) -> Result<()>) -> Result<Vec<Job>> {
    let (mut jobs, mut taken) = (Vec::new(), Vec::new());
    for name in names(paths)? {
        match parse(paths, &name) {
            Ok(request) => {
                jobs.extend(record(paths, request)?);
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
    if !jobs.is_empty() {
        remember(&jobs)?;
    }
    for name in taken {
        remove_durably(&paths.queue().join(&name))?;
    }
    Ok(jobs)
}

/// Puts a job that was interrupted before it changed anything back into the queue.
pub fn put_back(paths: &Paths, job: &Job) -> Result<()> {
    submit(paths, &job.request)
}

/// Every name in the queue, sorted; dot-files are others' unfinished work, which does not count.
fn names(paths: &Paths) -> Result<Vec<OsString>> {
    let queue = paths.queue();
    let mut names = Vec::new();
    let entries =
        fs::read_dir(&queue).with_context(|| format!("failed to read {}", quoted(&queue)))?;
    for entry in entries {
        let name = entry
            .with_context(|| format!("failed to read {}", quoted(&queue)))?
            .file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
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

/// The record of a claimed request; `None` when it was served before, and only its entry stayed.
fn record(paths: &Paths, request: Request) -> Result<Option<Job>> {
    match Job::load(paths, &request.id) {
        Ok(Some(job)) if job.status.is_final() => Ok(None),
        _ => {
            let job = Job::new(request);
            job.save(paths)?;
            Ok(Some(job))
        }
    }
}

fn refuse(paths: &Paths, name: &OsStr, why: &str) -> Result<()> {
    journal::request_refused(&format!("the queue entry {}", shown(name)), why);
    let target = paths.refused().join(name);
    // something may lie there under this name: the newest is kept, beside it
    let target = if target.symlink_metadata().is_ok() {
        let mut unique = name.to_owned();
        unique.push(format!(".{}", JobId::new()?));
        paths.refused().join(unique)
    } else {
        target
    };
    rename_durably(&paths.queue().join(name), &target)
}

fn shown(name: &OsStr) -> String {
    crate::request::shown(&name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Requester, Target};

    fn host() -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        prepare(&paths).unwrap();
        (root, paths)
    }

    fn request() -> Request {
        Request::apply(Target::All, Requester::at("test", None)).unwrap()
    }

    #[test]
    fn requests_are_claimed_in_order_and_once() {
        let (_root, paths) = host();
        let requests = [request(), request(), request()];
        for request in &requests {
            submit(&paths, request).unwrap();
        }
        assert_eq!(length(&paths), 3);
        let claimed = claim(&paths, |_| Ok(())).unwrap();
        let ids = |jobs: &[Job]| jobs.iter().map(|job| job.id().clone()).collect::<Vec<_>>();
        assert!(claimed.is_sorted_by_key(|job| job.id().as_str()[..16].to_owned()));
        assert_eq!(claimed.len(), 3);
        assert_eq!(length(&paths), 0);
        assert!(claim(&paths, |_| Ok(())).unwrap().is_empty());
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
        assert_eq!(claim(&paths, remembered).unwrap()[0].request, request);
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
        let jobs = claim(&paths, |_| Ok(())).unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!(fs::read_dir(paths.refused()).unwrap().count(), 4);
        assert_eq!(length(&paths), 0);
        fs::write(entry("nonsense"), "again").unwrap();
        claim(&paths, |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(paths.refused()).unwrap().count(), 5);
    }

    #[test]
    fn an_entry_that_was_served_is_not_served_again() {
        let (_root, paths) = host();
        let request = request();
        let mut job = Job::new(request.clone());
        job.status = crate::state::job::JobStatus::Succeeded;
        job.save(&paths).unwrap();
        submit(&paths, &request).unwrap();
        assert!(claim(&paths, |_| Ok(())).unwrap().is_empty());
        assert_eq!(length(&paths), 0);
    }
}
