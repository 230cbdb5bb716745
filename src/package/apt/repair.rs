//! Healing a package database that an interrupted run left behind, rung by rung.

use std::path::Path;

use anyhow::{Result, ensure};

use super::backend::Apt;
use super::{arguments, database, dpkg};
use crate::package::repair_step::run_repair_step;
use crate::package::{Change, Observer, PackageId, PackageState, sentences};

/// Climbs until nothing is wrong any more; what cannot be healed is named. No rung's exit code is
/// believed: after a full disk both of the first return 0 while a package is broken (FACTS 23).
pub fn run(apt: &Apt, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
    if database::problems(&apt.dpkg)?.is_empty() && !database::is_unconfigured(&apt.dpkg)? {
        return Ok(());
    }
    run_repair_step(&dpkg::configure_all(), log, observer)?;
    for (key, version) in half_installed()? {
        run_repair_step(&arguments::reinstall(&key, &version), log, observer)?;
        // without the archive, the file that the interrupted run was installing
        let file = changes
            .iter()
            .find(|change| [change.key(), change.former_key()].contains(&key))
            .and_then(|c| c.file.clone());
        if let Some(file) = file.filter(|file| file.exists() && is_torn(&key)) {
            run_repair_step(&dpkg::install_files(&[file]), log, observer)?;
        }
    }
    run_repair_step(&arguments::fix_broken(), log, observer)?;
    let problems = sentences(database::problems(&apt.dpkg)?);
    ensure!(
        problems.is_empty(),
        "the package database could not be repaired: {}",
        problems.join("; ")
    );
    Ok(())
}

/// Packages that only unpacking them again heals: dpkg was killed between two of its steps.
fn half_installed() -> Result<Vec<(PackageId, String)>> {
    let database = database::installed()?;
    let half_installed = database
        .into_iter()
        .filter(|(_, installed)| match &installed.state {
            PackageState::Good => false,
            PackageState::Broken(state) => {
                state.contains("half-installed") || state.contains("reinstallation")
            }
        });
    Ok(half_installed
        .map(|(key, installed)| (key, installed.version))
        .collect())
}

fn is_torn(key: &PackageId) -> bool {
    half_installed()
        .is_ok_and(|half_installed| half_installed.iter().any(|(other, _)| other == key))
}
