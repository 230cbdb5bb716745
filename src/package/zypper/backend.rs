//! zypper on this host, as the other parts use it.

use std::path::Path;

use anyhow::Result;

use super::scope::INDEXES;
use crate::package::rpm::rollback::Archived;
use crate::package::rpm::{database_cache, fingerprint, versionlock};
use crate::package::{Database, Source};

/// The files whose change may change what is pending.
const CONFIGURATION: [&str; 7] = [
    "/etc/zypp/repos.d",
    "/etc/zypp/zypp.conf",
    "/etc/zypp/zypp.conf.d",
    "/etc/zypp/multiversion.d",
    "/etc/zypp/vendors.d",
    "/etc/zypp/zypper.conf",
    "/etc/zypp/locks",
];

/// zypper on this host.
#[derive(Debug, Default)]
pub struct Zypper {
    /// The former versions that the repositories have, where that was announced with the changes.
    pub(super) archived: Archived,
}

/// The package database.
pub fn database() -> Result<Database> {
    let patterns = versionlock::zypper();
    Ok(database_cache::read()?.database(&|name| versionlock::is_held(&patterns, name)))
}

/// What changes whenever the index, the package database or the `failed` sources do.
pub fn stamp(failed: &[&Source]) -> String {
    fingerprint::stamp(failed, &[Path::new(INDEXES)], &CONFIGURATION)
}
