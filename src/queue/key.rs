//! Idempotency keys: the repetition of a request is the same job.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::checksum;
use crate::fs::{create_atomically, remove_durably};
use crate::paths::Paths;
use crate::request::{JobId, Request};
use crate::state::job::Job;

/// The id under which the request is to be queued: its own, or that of the request it repeats.
/// A key that was left behind without its job, by a crash or because the record was thrown away, is
/// of no use to anybody and begins anew.
pub fn resolve(paths: &Paths, request: &Request) -> Result<Resolved> {
    let Some(path) = path(paths, request) else {
        return Ok(Resolved::New(request.id.clone()));
    };
    loop {
        if create_atomically(&path, request.id.as_str().as_bytes(), 0o640)? {
            return Ok(Resolved::New(request.id.clone()));
        }
        let known = fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.parse::<JobId>().ok());
        match known {
            Some(id) if id == request.id => return Ok(Resolved::New(id)),
            Some(id) if exists(paths, &id) => return Ok(Resolved::Repeated(id)),
            _ => remove_durably(&path)?,
        }
    }
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
