//! What installing exactly some updates would do, and why some of them cannot be installed.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use super::arguments::{self, SimulatedInstall};
use super::backend::Apt;
use super::pending::{ALONE, know};
use super::{database, explain, simulate};
use crate::package::{KeptBack, KeptBackCause, Pending, Update};

/// What installing exactly these updates would do. Only what cannot be installed is kept back.
pub fn exactly(apt: &Apt, updates: &[Update], lists: &[OsString]) -> Result<Pending> {
    let planned = |updates: &[Update]| install(apt, updates, lists);
    if let Some(together) = planned(updates)? {
        return Ok(Pending {
            updates: together,
            kept_back: Vec::new(),
        });
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    if updates.len() > 1 && updates.len() <= ALONE {
        for update in updates {
            let alone = planned(std::slice::from_ref(update))?;
            let list = if alone.is_some() { &mut good } else { &mut bad };
            list.push(update.clone());
        }
    }
    let together = if good.is_empty() {
        None
    } else {
        planned(&good)?
    };
    let bad = if together.is_some() { &bad } else { updates };
    Ok(Pending {
        kept_back: impossible(bad, lists)?,
        updates: together.unwrap_or_default(),
    })
}

/// What installing exactly these would do; nothing when a package would have to go for it, or something that
/// is needed cannot be had.
fn install(apt: &Apt, updates: &[Update], lists: &[OsString]) -> Result<Option<Vec<Update>>> {
    let program = arguments::simulate_install(updates, lists);
    let (finished, output) = program.output()?;
    if !finished.succeeded() {
        // apt 2.6, 3.0 and 3.3
        let impossible = [
            "remove is disabled",
            "Unable to correct problems",
            "Unable to satisfy dependencies",
        ];
        let mut errors = finished.errors.iter();
        let known = errors.any(|line| impossible.iter().any(|text| line.contains(text)));
        ensure!(known, "{}", program.failure(&finished));
        return Ok(None);
    }
    let mut listed = simulate::parse(&output)?.updates;
    let mut along = false;
    for update in &mut listed {
        let mut asked = updates.iter();
        if let Some(asked) = asked.find(|asked| asked.key() == update.key()) {
            update.security |= asked.security;
            update.size = asked.size;
            update
                .former_architecture
                .clone_from(&asked.former_architecture);
        } else {
            along |= update.installed.is_some();
        }
    }
    if along {
        know(apt, &mut listed, &database::installed()?)?;
    }
    Ok(Some(listed))
}

fn impossible(updates: &[Update], lists: &[OsString]) -> Result<Vec<KeptBack>> {
    let asked = |update: &Update| SimulatedInstall {
        name: update.package.clone(),
        exact: update.key().to_string(),
        version: update.candidate.clone(),
    };
    let mut explained = explain::explain(updates.iter().map(asked).collect(), lists)?;
    let kept = |update: &Update| {
        let (cause, reason) = explained.remove(&update.package).unwrap_or_else(|| {
            let together = "it cannot be installed together with the others";
            (KeptBackCause::Dependency, together.to_owned())
        });
        KeptBack::new(&update.package, cause, reason).marked(update.security)
    };
    Ok(updates.iter().map(kept).collect())
}
