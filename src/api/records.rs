//! What the front ends show of jobs: records, pages of records, output. Each is read within a limit.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::value;
use crate::paths::Paths;
use crate::queue;
use crate::request::JobId;
use crate::sorted;
use crate::state;
use crate::state::job::{self, Job, JobStatus};
use crate::state::progress;
use crate::state::update::UpdateState;

/// How many bytes the records of one page have, in all. A page has one record at least.
const PAGE: usize = 256 * 1024;

/// The most records of one page.
const MAX_LISTED: usize = 1000;

/// How many bytes of output are given at once.
const PART: u64 = 64 * 1024;

/// How many bytes of output are given to a caller who asks for all of it: as many as are kept of a job that has ended.
const TAIL: u64 = 1024 * 1024;

/// The largest record that is read whole, that of an update of more than 1000 packages: several copies of it are in memory
/// while an answer is made of it.
const MAX_RECORD: u64 = 1024 * 1024;

/// Which jobs are wanted.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// How many at most.
    pub limit: usize,
    /// Only those that have not ended.
    pub active: bool,
    /// Only those with this status, which is none of a job that has ended.
    pub status: Option<JobStatus>,
    /// Only those that were asked for before this one: the last of the page before.
    pub before: Option<JobId>,
}

/// One job, wherever it is; its update is the host's while it runs.
pub fn job(paths: &Paths, id: &JobId) -> Result<Option<Value>> {
    if let Some(record) = record(paths, id)? {
        return Ok(Some(record));
    }
    if queue::is_waiting(paths, id) {
        let running: Vec<String> = state::read(&paths.running()).unwrap_or_default();
        let action = running
            .first()
            .map(|job| format!("waiting: job {job} runs"));
        let record = json!({"request": {"id": id}, "status": "queued", "action": action});
        return Ok(Some(record));
    }
    // a worker may have taken it between the two looks
    record(paths, id)
}

fn record(paths: &Paths, id: &JobId) -> Result<Option<Value>> {
    let Some(mut job) = find(paths, id)? else {
        return Ok(None);
    };
    if job.status != JobStatus::Running {
        return Ok(Some(serde_json::to_value(&job)?));
    }
    job.update = UpdateState::of_job(paths, job.started_at);
    let mut record = serde_json::to_value(&job)?;
    let progress = progress::load(paths);
    // what is published is about a transaction, which may be that of several jobs
    if let Some(progress) = progress.filter(|of| of.job == job.transaction) {
        record["progress"] = progress.percent.into();
        record["action"] = progress.action.into();
    }
    Ok(Some(record))
}

/// The record of a job, in whichever directory it is. Of one that is larger than an answer can be, this is the head.
pub fn find(paths: &Paths, id: &JobId) -> Result<Option<Job>> {
    let places = [job::record(paths, id), job::deferred(paths, id)];
    let length = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    let large = places.iter().find(|path| length(path) > MAX_RECORD);
    match large {
        Some(path) => Head::read(path).map(Some),
        None => Job::find(paths, id),
    }
}

/// What is shown of a record that is too large: how the job stands, without the packages. The values stay JSON here:
/// reading a job from a file piece by piece would be 20 kB of code for this alone.
#[derive(Serialize, Deserialize)]
struct Head {
    request: Value,
    status: Value,
    #[serde(default)]
    reached: bool,
    #[serde(default)]
    started_at: Value,
    #[serde(default)]
    finished_at: Value,
    transaction: Value,
    #[serde(default)]
    error: Value,
}

impl Head {
    fn read(path: &Path) -> Result<Job> {
        let shown = || format!("failed to read '{}'", path.display());
        let mut file = BufReader::new(File::open(path).with_context(shown)?);
        // the type that what a package manager answers is read by, too
        let text = Read::take(&mut file as &mut dyn BufRead, u64::MAX);
        let head: Self = serde_json::from_reader(text).with_context(shown)?;
        let mut job: Job =
            serde_json::from_slice(&serde_json::to_vec(&head)?).with_context(shown)?;
        job.notes.push(format!(
            "the record is too large for an answer and is shown without its packages; all of it is in '{}'",
            path.display()
        ));
        Ok(job)
    }
}

/// A page of the jobs, newest first. What is not a record is passed over.
pub fn page(paths: &Paths, wanted: &JobFilter) -> Result<Vec<Value>> {
    let mut ids = ids(paths, wanted);
    ids.retain(|id| wanted.before.as_ref().is_none_or(|before| id < before));
    sorted::sort_by(&mut ids, |a, b| b.cmp(a));
    ids.dedup();
    let is_wanted = |job: &Job| {
        let status = wanted.status.is_none_or(|status| job.status == status);
        status && !(wanted.active && job.status.is_final())
    };
    let jobs = ids.iter().filter_map(|id| look(paths, id));
    let (mut page, mut bytes) = (Vec::new(), 0);
    for job in jobs.filter(is_wanted).take(wanted.limit.min(MAX_LISTED)) {
        let record = serde_json::to_value(&job)?;
        bytes += value::length(&record);
        if bytes > PAGE && !page.is_empty() {
            break;
        }
        page.push(record);
    }
    Ok(page)
}

/// The ids among which the wanted jobs are, in no order. Those that have not ended are found without a look at the
/// records of all that have.
fn ids(paths: &Paths, wanted: &JobFilter) -> Vec<JobId> {
    let queued = || job::ids(&paths.queue());
    let running = || -> Vec<JobId> {
        let running = crate::state::read(&paths.running());
        running.unwrap_or_default()
    };
    let deferred = || job::ids(&paths.deferred());
    let conflicts = || job::ids(&paths.conflicts());
    match wanted.status {
        Some(JobStatus::Queued) => [queued(), running()].concat(),
        Some(JobStatus::Running) => running(),
        Some(JobStatus::Deferred) => deferred(),
        Some(JobStatus::Conflict) => conflicts(),
        _ if wanted.active => [queued(), running(), deferred(), conflicts()].concat(),
        _ => [queued(), job::ids(&paths.jobs()), deferred(), conflicts()].concat(),
    }
}

/// The job, from its record, or from its entry when no worker has taken it yet.
fn look(paths: &Paths, id: &JobId) -> Option<Job> {
    let record = || find(paths, id).ok().flatten();
    record()
        .or_else(|| queue::entry(paths, id).map(Job::new))
        .or_else(record)
}

/// The jobs in conflict, oldest first, as many as one page has.
pub fn conflicts(paths: &Paths) -> Result<Vec<Value>> {
    let mut ids = job::ids(&paths.conflicts());
    sorted::sort(&mut ids);
    let jobs = ids.iter().filter_map(|id| look(paths, id));
    let (mut page, mut bytes) = (Vec::new(), 0);
    for job in jobs.filter(|job| job.status == JobStatus::Conflict) {
        let record = serde_json::to_value(&job)?;
        bytes += value::length(&record);
        if (bytes > PAGE && !page.is_empty()) || page.len() == MAX_LISTED {
            break;
        }
        page.push(record);
    }
    Ok(page)
}

/// A part of the output of a job, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// The text; empty when there is no more as yet.
    pub text: String,
    /// In bytes from the beginning of the file.
    pub next: u64,
}

/// What the package manager has printed in a job from the byte `offset` on; none when there is no such job. What lies
/// beyond the end is empty, and the next part is at the end then: the middle of a long output is taken out when its
/// job ends.
pub fn log_part(paths: &Paths, id: &JobId, offset: u64) -> Result<Option<Part>> {
    let Some(log) = log(paths, id)? else {
        return Ok(None);
    };
    let (bytes, at, length) = match log {
        Log::Of(path) => read(&path, offset, PART)?,
        Log::None => (Vec::new(), 0, 0),
    };
    let whole = whole_characters(&bytes);
    // at the end, what is no character and will not become one either
    let whole = if whole == 0 { bytes.len() } else { whole };
    let next = (at + whole as u64).min(length.max(at));
    Ok(Some(Part {
        text: text(bytes[..whole].to_vec()),
        next,
    }))
}

/// What the package manager has printed in a job, of a long output the end; none when there is no such job.
pub fn log_tail(paths: &Paths, id: &JobId) -> Result<Option<String>> {
    let Some(log) = log(paths, id)? else {
        return Ok(None);
    };
    let Log::Of(path) = log else {
        return Ok(Some(String::new()));
    };
    let length = path.metadata().map_or(0, |metadata| metadata.len());
    let (bytes, at, _) = read(&path, length.saturating_sub(TAIL), TAIL)?;
    let cut = if at == 0 {
        String::new()
    } else {
        format!("[{at} bytes before this are omitted; ReadJobLog or 'patchctl log' has them]\n")
    };
    Ok(Some(cut + &text(bytes)))
}

enum Log {
    Of(PathBuf),
    /// The job waits, and nothing is printed yet.
    None,
}

fn log(paths: &Paths, id: &JobId) -> Result<Option<Log>> {
    if let Some(job) = find(paths, id)? {
        return Ok(Some(Log::Of(job::log(paths, &job.transaction))));
    }
    Ok(queue::is_waiting(paths, id).then_some(Log::None))
}

/// At most `count` bytes of a file from `offset` on, where they begin, and how long the file is.
fn read(path: &Path, offset: u64, count: u64) -> Result<(Vec<u8>, u64, u64)> {
    let shown = || format!("failed to read '{}'", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((Vec::new(), 0, 0));
        }
        Err(error) => return Err(error).with_context(shown),
    };
    let length = file.metadata().with_context(shown)?.len();
    let at = offset.min(length);
    file.seek(SeekFrom::Start(at)).with_context(shown)?;
    let mut bytes = Vec::new();
    file.take(count)
        .read_to_end(&mut bytes)
        .with_context(shown)?;
    Ok((bytes, at, length))
}

/// How many of the bytes are before a character that is not all there yet.
fn whole_characters(bytes: &[u8]) -> usize {
    // a character has four bytes at most
    let from = bytes.len().saturating_sub(3);
    let start = (from..bytes.len()).find(|&at| match std::str::from_utf8(&bytes[at..]) {
        Ok(_) => false,
        Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
    });
    start.unwrap_or(bytes.len())
}

/// The text of these bytes, without what cannot be part of a text on the bus.
fn text(mut bytes: Vec<u8>) -> String {
    for byte in bytes.iter_mut().filter(|byte| **byte == 0) {
        *byte = b' ';
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::prepare;
    use crate::request::{Options, Request, Requester, Target};

    fn host() -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        prepare(&paths).unwrap();
        (root, paths)
    }

    fn request() -> Request {
        Request::apply(Target::All, Options::default(), Requester::at("test", None)).unwrap()
    }

    fn ended(paths: &Paths, note: &str) -> JobId {
        let mut job = Job::new(request());
        job.status = JobStatus::Succeeded;
        job.notes.push(note.to_owned());
        job.save(paths).unwrap();
        job.id().clone()
    }

    fn pages(paths: &Paths, mut wanted: JobFilter) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        loop {
            let page = page(paths, &wanted).unwrap();
            let id = |record: &Value| record["request"]["id"].as_str().unwrap().to_owned();
            let ids: Vec<String> = page.iter().map(id).collect();
            let Some(last) = ids.last() else { return pages };
            wanted.before = Some(last.parse().unwrap());
            pages.push(ids);
        }
    }

    #[test]
    fn pages_hold_every_job_once_newest_first_and_are_small() {
        let (_root, paths) = host();
        let mut ids: Vec<JobId> = (0..5)
            .map(|_| ended(&paths, &"x".repeat(100_000)))
            .collect();
        ids.push(ended(&paths, &"x".repeat(1_000_000)));
        let waits = request();
        queue::submit(&paths, &waits).unwrap();
        ids.push(waits.id);
        ids.reverse();
        let all = JobFilter {
            limit: 1000,
            ..JobFilter::default()
        };
        let told = pages(&paths, all.clone());
        let counts: Vec<usize> = told.iter().map(Vec::len).collect();
        assert_eq!(counts, [1, 1, 2, 2, 1]);
        let told: Vec<String> = told.concat();
        assert_eq!(
            told,
            ids.iter().map(ToString::to_string).collect::<Vec<_>>()
        );
        let two = JobFilter { limit: 2, ..all };
        assert_eq!(page(&paths, &two).unwrap().len(), 1);
        assert_eq!(pages(&paths, two).concat(), told);
    }

    #[test]
    fn of_a_record_that_is_too_large_the_head_is_shown() {
        let (_root, paths) = host();
        let id = ended(&paths, &"x".repeat(5_000_000));
        let record = job(&paths, &id).unwrap().unwrap();
        assert!(value::length(&record) < 2000);
        let told = (&record["status"], &record["request"]["id"]);
        assert_eq!(told, (&"succeeded".into(), &id.as_str().into()));
        let note = record["notes"][0].as_str().unwrap();
        assert!(note.contains(&format!("{id}.json'")), "{note}");
        let all = JobFilter {
            limit: 10,
            ..JobFilter::default()
        };
        assert_eq!(page(&paths, &all).unwrap(), [record]);
    }

    #[test]
    fn those_that_have_not_ended_are_told_by_their_status() {
        let (_root, paths) = host();
        let old = ended(&paths, "");
        let waits = request();
        queue::submit(&paths, &waits).unwrap();
        let mut conflict = Job::new(request());
        conflict.save(&paths).unwrap();
        queue::parked::conflict(&paths, &mut conflict, "it changed", chrono::Utc::now()).unwrap();
        let mut running = Job::new(request());
        running.status = JobStatus::Running;
        running.save(&paths).unwrap();
        let list = serde_json::to_vec(&[running.id()]).unwrap();
        std::fs::write(paths.running(), list).unwrap();
        let told = |active: bool, status: Option<JobStatus>| {
            let wanted = JobFilter {
                limit: 10,
                active,
                status,
                before: None,
            };
            pages(&paths, wanted).concat()
        };
        let id = |job: &Job| job.id().to_string();
        let active = [id(&running), id(&conflict), waits.id.to_string()];
        assert_eq!(told(true, None), active);
        assert_eq!(told(false, Some(JobStatus::Conflict)), [id(&conflict)]);
        assert_eq!(told(false, Some(JobStatus::Running)), [id(&running)]);
        assert_eq!(told(true, Some(JobStatus::Queued)), [waits.id.to_string()]);
        assert!(told(false, Some(JobStatus::Deferred)).is_empty());
        assert_eq!(told(false, None).len(), 4);
        assert!(told(false, None).contains(&old.to_string()));
        assert_eq!(conflicts(&paths).unwrap().len(), 1);
    }

    #[test]
    fn output_comes_in_parts_of_whole_characters() {
        let (_root, paths) = host();
        let id = ended(&paths, "");
        let printed = "ä€🙂".repeat(20_000) + "end";
        std::fs::write(job::log(&paths, &id), &printed).unwrap();
        let (mut told, mut offset) = (String::new(), 0);
        loop {
            let part = log_part(&paths, &id, offset).unwrap().unwrap();
            if part.text.is_empty() {
                break;
            }
            assert!(part.text.len() as u64 <= PART);
            told += &part.text;
            offset = part.next;
        }
        assert_eq!((told == printed, offset), (true, printed.len() as u64));
        let beyond = log_part(&paths, &id, u64::MAX).unwrap().unwrap();
        let next = printed.len() as u64;
        assert_eq!(
            beyond,
            Part {
                text: String::new(),
                next
            }
        );
        std::fs::write(job::log(&paths, &id), b"\xe2\x82").unwrap();
        assert_eq!(log_part(&paths, &id, 0).unwrap().unwrap().next, 2);
        std::fs::write(job::log(&paths, &id), "x".repeat(3_000_000)).unwrap();
        let tail = log_tail(&paths, &id).unwrap().unwrap();
        assert!(tail.starts_with("[1951424 bytes before"), "{}", &tail[..60]);
        assert!(tail.len() < 1_049_000);
        assert!(
            log_part(&paths, &JobId::new().unwrap(), 0)
                .unwrap()
                .is_none()
        );
    }
}
