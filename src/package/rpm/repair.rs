//! Healing what an interrupted transaction of rpm left behind.

use std::path::Path;

use anyhow::{Result, bail};

use super::database;
use crate::package::Change;
use crate::package::command::Program;

/// Removes duplicates: an update that was killed has entered the new version and not yet taken the old
/// one away (measured for dnf 4 after SIGKILL, for dnf 5 after SIGTERM as well). Rung by rung, because
/// each may lack what it needs: the same update once more from its file, which also runs the scripts
/// that may not have run; `native`, which fetches the new version again; and at last the removal of
/// the old entry.
pub fn run(changes: &[Change], native: Option<&Program>, log: &Path) -> Result<()> {
    let duplicates = database::read()?.duplicates();
    if duplicates.is_empty() {
        return Ok(());
    }
    for (key, versions) in &duplicates {
        let file = changes
            .iter()
            .find(|change| change.key() == *key && change.to.as_ref() == versions.last())
            .and_then(|change| change.file.as_deref())
            .filter(|file| file.exists());
        if let Some(file) = file {
            database::run_logged(&database::install_again(file), log)?;
        }
    }
    if let Some(native) = native
        && !database::read()?.duplicates().is_empty()
    {
        database::run_logged(native, log)?;
    }
    for (key, versions) in database::read()?.duplicates() {
        for old in versions.iter().rev().skip(1) {
            database::run_logged(&database::erase_entry(&key, old), log)?;
        }
    }
    match database::read()?.problems().as_slice() {
        [] => Ok(()),
        problems => bail!(
            "the package database could not be repaired: {}",
            problems.join("; ")
        ),
    }
}
