//! A text that changes whenever the index, the package database or the configuration does.

use super::backend::Dnf;
use crate::package::Source;
use crate::package::rpm::fingerprint;

/// The text, for these `failed` sources.
pub fn fingerprint(dnf: &Dnf, failed: &[&Source]) -> String {
    let caches = dnf.variant.caches();
    fingerprint::stamp(failed, &caches, dnf.variant.configuration())
}
