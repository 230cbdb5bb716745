//! Records and errors of ours as the bus has them.

use anyhow::Error;
use serde_json::Value;
use zbus::{OwnedVariant, fdo};

use crate::api::inquire::PlannerRefusal;
use crate::api::records::JobFilter;
use crate::api::value::{Dictionary, Record, Records};
use crate::queue::KeyUsed;
use crate::queue::inquiry::TooMany;
use crate::request::{JobId, shown};
use crate::state::job::JobStatus;

/// How many jobs `ListJobs` returns without the option `limit`.
const JOBS_SHOWN: usize = 50;

/// An error of ours as one of the bus.
pub fn failed(error: &Error) -> fdo::Error {
    fdo::Error::Failed(format!("{error:#}"))
}

/// What was asked for cannot be asked for.
pub fn wrong(error: &Error) -> fdo::Error {
    fdo::Error::InvalidArgs(format!("{error:#}"))
}

/// Why a request was not queued.
pub fn not_queued(error: &Error) -> fdo::Error {
    if error.is::<KeyUsed>() {
        wrong(error)
    } else {
        failed(error)
    }
}

/// Why the planner has given no answer.
pub fn unanswered(error: &Error) -> fdo::Error {
    if error.is::<TooMany>() {
        fdo::Error::LimitsExceeded(format!("{error:#}"))
    } else if error.is::<PlannerRefusal>() {
        wrong(error)
    } else {
        failed(error)
    }
}

/// There is no such job.
pub fn no_job(id: &JobId) -> fdo::Error {
    fdo::Error::FileNotFound(format!("there is no job {id}"))
}

/// A record as an answer of the bus.
pub fn answer(record: Value) -> fdo::Result<Record> {
    Record::new(record).map_err(|error| too_large(&error))
}

/// Records as a list of them.
pub fn answers(records: Vec<Value>) -> fdo::Result<Records> {
    Records::new(records).map_err(|error| too_large(&error))
}

fn too_large(error: &Error) -> fdo::Error {
    fdo::Error::LimitsExceeded(format!("{error:#}"))
}

/// The value of an option, when it is given; `signature` is the type that it must have.
pub fn option<T>(options: &Dictionary, key: &str, signature: &str) -> fdo::Result<Option<T>>
where
    T: TryFrom<OwnedVariant>,
{
    let wrong = || fdo::Error::InvalidArgs(format!("{key} must be of type {signature}"));
    let Some(value) = options.get(key) else {
        return Ok(None);
    };
    let value = value.try_clone().map_err(|_| wrong())?;
    T::try_from(value).map(Some).map_err(|_| wrong())
}

/// Refuses options that are not known: what a caller meant by one must not be guessed.
pub fn no_options(options: &Dictionary, known: &[&str]) -> fdo::Result<()> {
    match options.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(fdo::Error::InvalidArgs(format!(
            "the option {} is not known",
            shown(key),
        ))),
    }
}

/// Which jobs the options of `ListJobs` ask for.
pub fn wanted(options: &Dictionary) -> fdo::Result<JobFilter> {
    no_options(options, &["limit", "active", "status", "before"])?;
    let limit = option::<u32>(options, "limit", "u")?;
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let status: Option<String> = option(options, "status", "s")?;
    let before: Option<String> = option(options, "before", "s")?;
    Ok(JobFilter {
        limit: limit.unwrap_or(JOBS_SHOWN),
        active: option(options, "active", "b")?.unwrap_or(false),
        status: status.as_deref().map(unfinished).transpose()?,
        before: before.as_deref().map(job_id).transpose()?,
    })
}

/// The status of that name, of a job that has not ended: of those there are never so many that they have to be looked
/// for among all.
fn unfinished(name: &str) -> fdo::Result<JobStatus> {
    let all = [
        JobStatus::Queued,
        JobStatus::Running,
        JobStatus::Deferred,
        JobStatus::Conflict,
    ];
    let found = all.into_iter().find(|status| status.as_str() == name);
    found.ok_or_else(|| {
        fdo::Error::InvalidArgs("status is 'queued', 'running', 'deferred' or 'conflict'".into())
    })
}

/// The id that was given.
pub fn job_id(text: &str) -> fdo::Result<JobId> {
    text.parse().map_err(|error| wrong(&error))
}
