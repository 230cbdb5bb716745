//! What is pending, and what is kept back and why.

use std::ffi::OsString;

use anyhow::{Result, ensure};

use super::{Apt, arguments, listing};
use crate::package::{KeptBack, KeptBackCause, PackageManager, Pending, Source, Update};

/// What an upgrade of everything would do, without what only failed sources have.
pub fn everything(apt: &Apt, failed: &[&Source]) -> Result<Pending> {
    let lists = apt.lists_without(failed)?;
    let listing = listing::parse(&arguments::simulate_upgrade(&lists).capture()?)?;
    let mut kept_back = reasons(apt, &listing.kept, &lists)?;
    if !failed.is_empty() {
        let all = listing::parse(&arguments::simulate_upgrade(&[]).capture()?)?;
        kept_back.extend(only_from_failed(&all.updates, &listing.updates));
    }
    Ok(Pending {
        updates: listing.updates,
        kept_back,
    })
}

/// What installing exactly these updates would do.
pub fn exactly(updates: &[Update], lists: &[OsString]) -> Result<Pending> {
    let program = arguments::simulate_install(updates, lists);
    let (finished, output) = program.heard()?;
    if finished.succeeded() {
        let listing = listing::parse(&output)?;
        return Ok(Pending {
            updates: listing.updates,
            kept_back: Vec::new(),
        });
    }
    // apt 2.6 and 3.0: "Packages need to be removed but remove is disabled."
    let removal = finished
        .errors
        .iter()
        .any(|line| line.contains("remove is disabled"));
    ensure!(removal, "{}", program.failure(&finished));
    let reason = "it would need packages to be removed";
    let kept =
        |u: &Update| KeptBack::new(&u.package, KeptBackCause::Removal, reason).marked(u.security);
    Ok(Pending {
        updates: Vec::new(),
        kept_back: updates.iter().map(kept).collect(),
    })
}

/// Why each of these is kept back.
pub fn reasons(apt: &Apt, kept: &[listing::Kept], lists: &[OsString]) -> Result<Vec<KeptBack>> {
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let database = apt.installed()?;
    let held = |name: &str| {
        let plain = name.split(':').next().unwrap_or(name);
        database
            .iter()
            .any(|(key, installed)| key.package == plain && installed.held)
    };
    let mut unexplained: Vec<&str> = kept
        .iter()
        .filter(|kept| !kept.phased && !held(&kept.package))
        .map(|kept| kept.package.as_str())
        .collect();
    let (mut full, mut phased) = (listing::Listing::default(), Vec::new());
    if !unexplained.is_empty() {
        full = listing::parse(&arguments::simulate_full_upgrade(lists).capture()?)?;
        unexplained.retain(|name| !full.installs(name));
    }
    if !unexplained.is_empty() {
        phased = listing::phased(&arguments::show(&unexplained).capture()?);
    }
    Ok(listing::reasons(kept, &held, &full, &phased))
}

/// What would be updated with the failed sources and is not without them.
fn only_from_failed(all: &[Update], good: &[Update]) -> Vec<KeptBack> {
    all.iter()
        .filter(|update| !good.contains(update))
        .map(|update| {
            let version = &update.candidate;
            let reason = format!("{version} comes from a source whose last refresh failed");
            KeptBack::new(&update.package, KeptBackCause::Source, reason).marked(update.security)
        })
        .collect()
}
