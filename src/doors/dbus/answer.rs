//! Records and errors of ours as the bus has them.

use anyhow::Error;
use serde::Serialize;
use serde_json::Value;
use zbus::fdo;

use crate::doors::inquire::Refused;
use crate::doors::value::{self, Dictionary};
use crate::queue::KeyUsed;
use crate::queue::inquiry::TooMany;
use crate::request::{JobId, shown};

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
    } else if error.is::<Refused>() {
        wrong(error)
    } else {
        failed(error)
    }
}

/// There is no such job.
pub fn no_job(id: &JobId) -> fdo::Error {
    fdo::Error::FileNotFound(format!("there is no job {id}"))
}

/// A record as a dictionary of the bus.
pub fn answer(record: Value) -> fdo::Result<Dictionary> {
    value::dictionary(record).map_err(|error| failed(&error))
}

/// Records as a list of them.
pub fn answers<T: Serialize>(records: &[T]) -> fdo::Result<Vec<Dictionary>> {
    records
        .iter()
        .map(|record| {
            serde_json::to_value(record)
                .map_err(|e| failed(&e.into()))
                .and_then(answer)
        })
        .collect()
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

/// The id that was given.
pub fn job_id(text: &str) -> fdo::Result<JobId> {
    text.parse().map_err(|error| wrong(&error))
}
