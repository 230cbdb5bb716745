//! Healing a package database that an interrupted run left behind, rung by rung.

use std::path::Path;

use anyhow::{Result, ensure};

use super::backend::Apt;
use super::{arguments, database, dpkg};
use crate::package::climb::climb;
use crate::package::{Change, Key, Observer, PackageState, sentences};

/// Climbs until nothing is wrong any more; what cannot be healed is named. No rung's exit code is
/// believed: after a full disk both of the first return 0 while a package is broken (FACTS 23).
pub fn run(apt: &Apt, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
    if database::problems(&apt.dpkg)?.is_empty() && !database::is_unconfigured(&apt.dpkg)? {
        return Ok(());
    }
    climb(&dpkg::configure_all(), log, observer)?;
    for (key, version) in torn()? {
        climb(&arguments::reinstall(&key, &version), log, observer)?;
        // without the archive, the file that the interrupted run was installing
        let file = changes
            .iter()
            .find(|change| [change.key(), change.former_key()].contains(&key))
            .and_then(|c| c.file.clone());
        if let Some(file) = file.filter(|file| file.exists() && is_torn(&key)) {
            climb(&dpkg::install_files(&[file]), log, observer)?;
        }
    }
    climb(&arguments::fix_broken(), log, observer)?;
    let problems = sentences(database::problems(&apt.dpkg)?);
    ensure!(
        problems.is_empty(),
        "the package database could not be repaired: {}",
        problems.join("; ")
    );
    Ok(())
}

/// Packages that only unpacking them again heals: dpkg was killed between two of its steps.
fn torn() -> Result<Vec<(Key, String)>> {
    let database = database::installed()?;
    let torn = database
        .into_iter()
        .filter(|(_, installed)| match &installed.state {
            PackageState::Good => false,
            PackageState::Broken(state) => {
                state.contains("half-installed") || state.contains("reinstallation")
            }
        });
    Ok(torn
        .map(|(key, installed)| (key, installed.version))
        .collect())
}

fn is_torn(key: &Key) -> bool {
    torn().is_ok_and(|torn| torn.iter().any(|(torn, _)| torn == key))
}
