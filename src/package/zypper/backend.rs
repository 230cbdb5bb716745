//! zypper on this host, as the other parts use it.

use anyhow::Result;

use crate::package::Database;
use crate::package::rpm::rollback::Archived;
use crate::package::rpm::{database_cache, versionlock};

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
