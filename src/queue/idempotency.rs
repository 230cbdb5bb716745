//! Idempotency keys: the repetition of a request is the same job.

use std::path::PathBuf;
use std::{fmt, fs};

use anyhow::{Result, ensure};

use crate::checksum;
use crate::fs::{create_atomically, remove_durably};
use crate::paths::Paths;
use crate::request::{JobId, Request};
use crate::state::job::Job;

/// The key stands for a job that asks for something else.
#[derive(Debug)]
pub struct KeyUsed(JobId);

impl fmt::Display for KeyUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the idempotency key stands for job {}, which asks for something else; use another key",
            self.0
        )
    }
}

impl std::error::Error for KeyUsed {}

/// The id under which the request is to be queued: its own, or that of the request it repeats. The error is
/// [`KeyUsed`] when the key was given to another request. A key that was left behind without its job, by a
/// crash or because the record was thrown away, counts as unused.
pub fn resolve(paths: &Paths, request: &Request) -> Result<Resolved> {
    let Some(path) = path(paths, request) else {
        return Ok(Resolved::New(request.id.clone()));
    };
    let asked = asked(request)?;
    loop {
        let line = format!("{} {asked}", request.id);
        if create_atomically(&path, line.as_bytes(), 0o640)? {
            return Ok(Resolved::New(request.id.clone()));
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        // an earlier version wrote the id alone
        let (id, before) = text.split_once(' ').unwrap_or((&text, &asked));
        match id.parse::<JobId>() {
            Ok(id) if id == request.id => return Ok(Resolved::New(id)),
            Ok(id) if exists(paths, &id) => {
                ensure!(before == asked, KeyUsed(id));
                return Ok(Resolved::Repeated(id));
            }
            _ => remove_durably(&path)?,
        }
    }
}

/// A checksum of what the submitter asks for. The versions that a front end adds to a request that may wait for the
/// network are no part of it: they are those of the day.
fn asked(request: &Request) -> Result<String> {
    let mut options = request.options.clone();
    if options.wait_for_network {
        options.expect.clear();
    }
    let asked = serde_json::to_vec(&(&request.packages, &request.job, options))?;
    Ok(checksum::sha256(&asked))
}

/// What a key says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Resolved {
    /// It is the first with its key, or has none.
    New(JobId),
    /// It repeats this one.
    Repeated(JobId),
}

fn exists(paths: &Paths, id: &JobId) -> bool {
    paths.queue().join(format!("{id}.json")).exists()
        || Job::find(paths, id).is_ok_and(|job| job.is_some())
}

/// Keys of different users are different keys.
fn path(paths: &Paths, request: &Request) -> Option<PathBuf> {
    let key = request.options.idempotency_key.as_ref()?;
    let uid = request
        .requester
        .uid
        .map_or_else(String::new, |uid| uid.to_string());
    let sum = checksum::sha256(
        format!(
            "{uid}
{}",
            key.as_str()
        )
        .as_bytes(),
    );
    Some(paths.keys().join(sum))
}
