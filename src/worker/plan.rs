//! What a transaction is to install, and what the gate is told of it.

use std::time::SystemTime;

use anyhow::{Result, bail};

use super::gate::{Expectation, expectation};
use super::space::NoRoom;
use super::{Worker, block, own, reboot, refresh, select};
use crate::PACKAGE;
use crate::fs::write_atomically;
use crate::package::{Change, KeptBack, Selection, Source};
use crate::request::{JobId, Target};
use crate::state::blocked::Blocked;
use crate::state::job::Job;
use crate::state::pending::PendingList;

/// What of that which the jobs ask for one transaction is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it. Our own package is taken out if it is among others.
    Whole,
    /// The same, after the package manager was about to change our own package among others.
    Listed,
    /// Our own package, after the others.
    Own,
}

/// What to install.
pub struct Plan {
    pub selection: Selection,
    pub kept_back: Vec<KeptBack>,
    /// Whether our own package was taken out.
    pub own_follows: bool,
}

/// What to install: everything that is due, or exactly what the jobs name and that needs.
pub fn selection(
    worker: &Worker,
    jobs: &[Job],
    failed: &[&Source],
    (part, without): (Part, &[NoRoom]),
) -> Result<Plan> {
    let everything = jobs
        .iter()
        .any(|job| job.request.packages == Some(Target::All));
    let fingerprint = worker.packages.fingerprint(failed);
    let list = PendingList::load(&worker.paths).filter(|list| list.is_for(&fingerprint));
    let mut list = list.map(|list| list.pending);
    if part == Part::Whole
        && everything
        && without.is_empty()
        && Blocked::load_to_change(&worker.paths).is_empty()
    {
        let mut told = worker.packages.must_be_told(list.as_ref(), failed)?;
        if told && list.is_none() {
            list = Some(refresh::pending(worker, failed)?);
            told = worker.packages.must_be_told(list.as_ref(), failed)?;
        }
        if !told {
            return Ok(Plan {
                selection: Selection::Everything,
                kept_back: Vec::new(),
                own_follows: false,
            });
        }
    }
    let pending = match list {
        Some(list) => list,
        None => refresh::pending(worker, failed)?,
    };
    let for_security = |job: &Job| job.request.packages == Some(Target::Security);
    if jobs.iter().any(for_security)
        && let Some(why) = worker.packages.no_security()?
    {
        bail!("it is not known which updates are for security: {why}");
    }
    let mut selected = select::selected(jobs, &pending);
    if part == Part::Own {
        selected.retain(|update| update.package == PACKAGE);
    }
    let mut kept_back = pending.kept_back;
    let own_follows = match part {
        Part::Own => None,
        Part::Whole | Part::Listed => own::others_of(worker, &selected, failed)?,
    };
    let updates = match own_follows {
        Some(others) => {
            let (others, kept) = if without.is_empty() {
                (others, Vec::new())
            } else {
                block::plan(worker, &others, failed, without)?
            };
            kept_back.extend(kept);
            return Ok(Plan {
                selection: Selection::Exactly(others),
                kept_back,
                own_follows: true,
            });
        }
        None if selected.is_empty() => selected,
        None => {
            let (updates, kept) = block::plan(worker, &selected, failed, without)?;
            kept_back.extend(kept);
            updates
        }
    };
    Ok(Plan {
        selection: Selection::Exactly(updates),
        kept_back,
        own_follows: false,
    })
}

/// Whether it is known that nothing is due: the list of what is pending still holds, and is empty.
pub fn is_nothing_due(worker: &Worker, failed: &[&Source]) -> bool {
    let list = PendingList::load(&worker.paths).filter(|list| list.pending.updates.is_empty());
    list.is_some_and(|list| list.is_for(&worker.packages.fingerprint(failed)))
}

/// Leaves for the gate what it may let through.
pub fn expect(worker: &Worker, leader: &JobId, jobs: &[Job], selection: &Selection) -> Result<()> {
    let plan = match selection {
        Selection::Everything => None,
        Selection::Exactly(updates) => Some(updates.iter().map(Change::from).collect()),
    };
    let expected = Expectation {
        since: Some(SystemTime::now()),
        plan,
        require_rollback: worker.config.rollback.require,
        foreign_shutdown: reboot::policy(worker, jobs),
    };
    let bytes = serde_json::to_vec(&expected)?;
    write_atomically(&expectation(&worker.paths, leader), &bytes, 0o600)
}
