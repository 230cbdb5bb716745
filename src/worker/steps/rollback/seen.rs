//! What the host was like before an update in what no package database knows; on the disk for as long as the
//! update may be undone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{remove_durably, write_atomically};
use crate::host::clock;
use crate::package::PackageManager;
use crate::paths::{Paths, quoted};
use crate::request::{JobId, Kind};
use crate::sorted::{self, InOrder};
use crate::state::job::Job;
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::rollback::etc::{self, Etc};
use crate::worker::steps::rollback::marks::Marked;

/// How many of the latest updates keep what was seen before them: a few hundred kilobytes each.
const KEPT: usize = 10;

/// Everything but `/etc`, which may be long and is read only to be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateBefore {
    /// When.
    pub at: Option<DateTime<Utc>>,
    /// Why `/etc` could not be looked at.
    pub etc_unknown: Option<String>,
    /// The packages of which only the configuration was left, as `name:architecture`.
    pub remains: BTreeSet<String>,
    /// The packages that were there for others only, as `name:architecture`; none where the package
    /// manager does not say it.
    pub automatic: Option<BTreeSet<String>>,
    /// Why the host should have been rebooted, and who says so.
    pub reboot: Marked,
}

/// Looks at the host: a line of JSON for everything but `/etc`, and one for each file there.
pub fn snapshot(paths: &Paths, packages: &dyn PackageManager) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    let walked = etc::walk(&paths.host("/etc"), |path, what| {
        // writing into memory cannot fail
        let _ = serde_json::to_writer(&mut lines, &(path, what));
        lines.push(b'\n');
    });
    let remains = packages.remains().unwrap_or_else(|error| {
        tracing::warn!("{error:#}");
        BTreeSet::new()
    });
    let seen = StateBefore {
        at: Some(clock::now()),
        etc_unknown: walked.err().map(|error| format!("{error:#}")),
        remains: remains.iter().map(ToString::to_string).in_order(),
        automatic: packages.automatic(),
        reboot: Marked::read(paths, packages),
    };
    let mut bytes = serde_json::to_vec(&seen)?;
    bytes.push(b'\n');
    bytes.append(&mut lines);
    Ok(bytes)
}

/// Leaves what was seen on the disk, synced. `again` is for a second part of an update, whose first part keeps
/// its own.
pub fn leave(paths: &Paths, transaction: &JobId, again: bool, seen: &[u8]) -> Result<()> {
    if !again {
        remove_durably(&path(paths, transaction, true))?;
    }
    write_atomically(&path(paths, transaction, again), seen, 0o600)
}

/// What was seen before the changes that a job undoes: its own, or those of the job that it is asked to undo.
#[derive(Debug)]
pub struct Earlier {
    /// When it had ended, where it has.
    pub ended: Option<DateTime<Utc>>,
    /// What was seen.
    pub seen: StateBefore,
    /// The files in `/etc`; or why they are not known.
    pub etc: Result<Etc, String>,
}

impl Earlier {
    /// Reads it. What no longer exists, or cannot be read, is not compared.
    pub fn of(ctx: &Context, transaction: &JobId) -> Self {
        let paths = &ctx.paths;
        let of = |id: &JobId| Job::taken(paths, id);
        let asked = of(transaction).filter(|job| job.request.kind == Kind::Rollback);
        let undone = asked.and_then(|job| of(&job.request.job?));
        let (job, ended) = match &undone {
            Some(undone) => (undone.transaction.clone(), undone.finished_at),
            None => (transaction.clone(), None),
        };
        // a part is undone alone, and an update as a whole
        let second = path(paths, &job, true);
        let file = if undone.is_none() && second.exists() {
            second
        } else {
            path(paths, &job, false)
        };
        let (seen, etc) = match read(&file) {
            Ok((seen, etc)) => (seen, Ok(etc)),
            Err(error) => (StateBefore::default(), Err(format!("{error:#}"))),
        };
        let etc = seen.etc_unknown.clone().map_or(etc, Err);
        Self { ended, seen, etc }
    }
}

fn read(file: &PathBuf) -> Result<(StateBefore, Etc)> {
    if !file.exists() {
        return Err(anyhow!("its state before the update is no longer recorded"));
    }
    let failed = || format!("failed to read {}", quoted(file));
    let mut lines = BufReader::new(fs::File::open(file).with_context(failed)?).lines();
    let first = lines.next().context("it is empty").and_then(|l| Ok(l?));
    let seen = serde_json::from_slice(first.with_context(failed)?.as_bytes());
    let seen = seen.with_context(failed)?;
    let mut etc = Etc::new();
    for line in lines {
        let line = line.with_context(failed)?;
        let entry = serde_json::from_slice(line.as_bytes());
        let (path, what): (String, String) = entry.with_context(failed)?;
        etc.insert(path, what);
    }
    Ok((seen, etc))
}

/// Leaves what was seen before a transaction with each of its jobs, for the worker that serves them next.
pub fn copy_to_jobs(paths: &Paths, transaction: &JobId, jobs: &[Job]) {
    for job in jobs.iter().filter(|job| job.id() != transaction) {
        copy(paths, transaction, job.id());
    }
}

/// Takes over what was seen before the first part of a transaction, which one of its jobs has been left.
pub fn copy_from_jobs(paths: &Paths, transaction: &JobId, jobs: &[Job]) {
    let seen = jobs.iter().filter(|job| job.progress().is_requeued());
    let mut seen = seen.filter(|job| path(paths, job.id(), false).exists());
    if let Some(job) = seen.next().filter(|job| job.id() != transaction) {
        copy(paths, job.id(), transaction);
    }
}

fn copy(paths: &Paths, from: &JobId, to: &JobId) {
    let bytes = fs::read(path(paths, from, false)).map_err(anyhow::Error::from);
    let copied = bytes.and_then(|bytes| write_atomically(&path(paths, to, false), &bytes, 0o600));
    if let Err(error) = copied {
        tracing::warn!("what was seen before job {from} is not kept for {to}: {error:#}");
    }
}

/// Jobs have ended: what was seen before a transaction of which nothing has stayed is of no use, nor is what
/// lies far behind.
pub fn tidy(paths: &Paths, ended: &[Job]) {
    let is_of_use = |id: &JobId| {
        let mut jobs = ended.iter().filter(|job| job.transaction == *id);
        jobs.any(|job| !job.changes.is_empty())
    };
    let ids: BTreeSet<&JobId> = ended.iter().map(Job::id).in_order();
    let useless = ids.into_iter().filter(|id| !is_of_use(id));
    let useless: Vec<OsString> = useless.flat_map(files).collect();
    let there = fs::read_dir(paths.jobs()).into_iter().flatten().flatten();
    let there = there.filter_map(|entry| entry.file_name().into_string().ok());
    let mut kept: Vec<String> = there
        .filter_map(|name| Some(name.strip_suffix(END)?.to_owned()))
        .collect();
    sorted::sort(&mut kept);
    let surplus = kept.len().saturating_sub(KEPT);
    let old = kept.into_iter().take(surplus);
    let old = old.flat_map(|id| [END, SECOND].map(|end| format!("{id}{end}").into()));
    for name in useless.into_iter().chain(old) {
        let _ = fs::remove_file(paths.jobs().join(name));
    }
}

const END: &str = ".etc";
const SECOND: &str = ".etc-2";

/// The files of a job, among others in the directory of jobs.
#[must_use]
pub fn files(id: &JobId) -> [OsString; 2] {
    [END, SECOND].map(|end| format!("{id}{end}").into())
}

fn path(paths: &Paths, transaction: &JobId, again: bool) -> PathBuf {
    let end = if again { SECOND } else { END };
    paths.jobs().join(format!("{transaction}{end}"))
}
