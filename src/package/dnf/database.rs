//! The installed packages, and which of them are locked.

use anyhow::Result;

use crate::package::Database;
use crate::package::rpm::{database_cache, versionlock};

/// What is installed.
pub fn installed() -> Result<Database> {
    let patterns = versionlock::dnf();
    Ok(database_cache::read()?.database(&|name| versionlock::is_held(&patterns, name)))
}
