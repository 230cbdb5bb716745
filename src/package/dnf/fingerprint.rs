//! A text that changes whenever the index, the package database or the configuration does.

use std::path::{Path, PathBuf};

use super::backend::Dnf;
use crate::package::Source;
use crate::package::rpm::fingerprint;

/// The text, for these `failed` sources.
pub fn fingerprint(dnf: &Dnf, failed: &[&Source]) -> String {
    let caches = dnf.caches();
    let caches: Vec<&Path> = caches.iter().map(PathBuf::as_path).collect();
    fingerprint::stamp(failed, &caches, dnf.dialect.configuration())
}
