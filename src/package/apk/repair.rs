//! Healing what an interrupted transaction left behind.

use std::path::Path;

use anyhow::{Result, ensure};

use super::backend::Apk;
use crate::package::repair_step::run_repair_step;
use crate::package::{Change, Installed, Observer, PackageId, PackageState, Problem, sentences};

/// What is wrong with the database: it remembers which packages are broken.
pub fn problems(apk: &Apk) -> Result<Vec<Problem>> {
    let broken = |(key, installed): (PackageId, Installed)| match installed.state {
        PackageState::Good => None,
        PackageState::Broken(state) => {
            let text = format!("{} is {state}", key.package);
            Some(Problem::of(&key.package, text))
        }
    };
    Ok(apk
        .read_database()?
        .into_iter()
        .filter_map(broken)
        .collect())
}

/// Has apk install again what the changes were about; what cannot be healed is named in the error.
pub fn run(apk: &Apk, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
    let coming = changes.iter().filter(|change| change.to.is_some());
    let names: Vec<&str> = coming.map(|change| change.package.as_str()).collect();
    let installed = apk.read_database()?;
    let torn = |change: &Change| {
        let now = installed.get(&change.key());
        now.map(|i| &i.version) != change.to.as_ref()
            || now.is_some_and(|i| i.state != PackageState::Good)
    };
    if changes.iter().any(torn) || !problems(apk)?.is_empty() {
        run_repair_step(&apk.apk.fix(&names), log, observer)?;
    }
    let problems = problems(apk)?;
    ensure!(
        problems.is_empty(),
        "the package database could not be repaired: {}",
        sentences(problems).join("; ")
    );
    Ok(())
}
