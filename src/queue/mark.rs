//! What was decided about a job that exists already.

use std::ffi::OsString;

use anyhow::{Context, Result};

use super::entries;
use crate::fs::rename_durably;
use crate::paths::Paths;
use crate::request::JobId;

/// What the administrator decides about a job that exists already: a file beside the entries, named by the
/// job's id. It is looked at by the worker alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// End it, while that is safe.
    Cancel,
    /// In conflict: do it all the same.
    Apply,
    /// In conflict: do not do it.
    Discard,
}

impl Decision {
    pub(super) const ALL: [Self; 3] = [Self::Cancel, Self::Apply, Self::Discard];

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Apply => "apply",
            Self::Discard => "discard",
        }
    }

    pub(super) fn name(self, id: &JobId) -> OsString {
        format!("{id}.{}", self.suffix()).into()
    }

    /// The mark and the job that a name in the queue stands for.
    #[must_use]
    pub fn parse(name: &std::ffi::OsStr) -> Option<(Self, JobId)> {
        let (id, suffix) = name.to_str()?.split_once('.')?;
        let mark = Self::ALL.into_iter().find(|mark| mark.suffix() == suffix)?;
        Some((mark, id.parse().ok()?))
    }

    /// Leaves the mark for the worker.
    pub fn leave(self, paths: &Paths, id: &JobId) -> Result<()> {
        let name = self.name(id);
        let prepared = paths.tmp().join(&name);
        crate::fs::write_atomically(&prepared, b"", 0o640)
            .and_then(|()| rename_durably(&prepared, &paths.queue().join(&name)))
            .context("the decision could not be queued")
    }

    /// Whether the mark is there.
    #[must_use]
    pub fn is_left(self, paths: &Paths, id: &JobId) -> bool {
        paths.queue().join(self.name(id)).symlink_metadata().is_ok()
    }

    /// Takes the mark away.
    pub fn remove(self, paths: &Paths, id: &JobId) -> Result<()> {
        entries::remove(paths, &self.name(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_by_their_names() {
        let id = JobId::new().unwrap();
        for mark in Decision::ALL {
            assert_eq!(Decision::parse(&mark.name(&id)), Some((mark, id.clone())));
        }
        for name in [
            "x.cancel",
            "0123456789abcdef-abcdef.json",
            "0123456789abcdef-abcdef",
        ] {
            assert_eq!(Decision::parse(name.as_ref()), None);
        }
    }
}
