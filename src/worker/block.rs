//! What was rolled back is not tried again as it was: set, lapsed, forgotten.

use anyhow::Result;
use serde_json::Map;

use super::{Worker, refresh};
use crate::host::clock;
use crate::journal;
use crate::package::{AllOrNothing, Change, KeptBack, KeptBackCause, Pending, Source, Update};
use crate::request::JobId;
use crate::state::blocked::{Block, Blocked};
use crate::state::pending::PendingList;

/// Whose word it is that changes were rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The verification of the update.
    Verification,
    /// An administrator, who has asked for it.
    Hand,
}

/// Does not offer these changes again.
pub fn set(worker: &Worker, job: &JobId, changes: Vec<Change>, (by, reason): (By, &str)) {
    let shown: Vec<String> = changes
        .iter()
        .filter_map(|change| Some(format!("{}={}", change.key(), change.to.as_ref()?)))
        .collect();
    let mut blocked = Blocked::load_to_change(&worker.paths);
    blocked.forget(job);
    blocked.sets.push(Block {
        job: job.clone(),
        at: clock::now(),
        reason: journal::plain(reason),
        by_hand: by == By::Hand,
        changes,
        other: Map::new(),
    });
    match blocked.save(&worker.paths) {
        Ok(()) => journal::blocked(job, &shown.join(" ")),
        Err(error) => tracing::error!("{error:#}"),
    }
}

/// Somebody wants what this job had installed to be offered again.
pub fn forget(worker: &Worker, job: &JobId) {
    let mut blocked = Blocked::load_to_change(&worker.paths);
    if !blocked.forget(job) {
        return;
    }
    let offered = blocked.save(&worker.paths).and_then(|()| {
        journal::unblocked(job, "somebody has asked for that");
        forget_list(worker)?;
        refresh::list_pending(worker)
    });
    if let Err(error) = offered {
        tracing::error!("{error:#}");
    }
}

/// The list of pending updates no longer holds.
fn forget_list(worker: &Worker) -> Result<()> {
    match PendingList::load(&worker.paths) {
        Some(mut list) => {
            list.fingerprint = None;
            list.save(&worker.paths)
        }
        None => Ok(()),
    }
}

/// What is offered of what is pending. Where a newer version has come, what was rolled back is free again.
pub fn offered(worker: &Worker, pending: Pending) -> Result<Pending> {
    let mut blocked = Blocked::load_to_change(&worker.paths);
    if blocked.is_empty() {
        return Ok(pending);
    }
    let over = blocked.lapse(&pending);
    if !over.is_empty() {
        blocked.save(&worker.paths)?;
    }
    for set in over {
        journal::unblocked(&set.job, "there is another version of one of its packages");
    }
    Ok(blocked.offered(pending))
}

/// The exact changes that installing `selected` needs, without what was rolled back: who needs that, too,
/// is kept back.
pub fn plan(
    worker: &Worker,
    selected: &[Update],
    failed: &[&Source],
) -> Result<(Vec<Update>, Vec<KeptBack>)> {
    let blocked = Blocked::load_to_change(&worker.paths);
    let needs = |plan: &Pending| plan.updates.iter().find_map(|update| blocked.why(update));
    let whole = match worker.packages.plan(selected, failed) {
        Ok(whole) => whole,
        Err(error) if !blocked.is_empty() && error.is::<AllOrNothing>() => {
            let jobs: Vec<&str> = blocked.sets.iter().map(|set| set.job.as_str()).collect();
            let reason = format!(
                "it cannot be had without what was rolled back in job {}: {error:#}",
                jobs.join(", ")
            );
            let kept = selected.iter().map(|update| {
                KeptBack::new(&update.package, KeptBackCause::RolledBack, &reason)
                    .marked(update.security)
            });
            return Ok((Vec::new(), kept.collect()));
        }
        Err(error) => return Err(error),
    };
    if needs(&whole).is_none() {
        return Ok((whole.updates, whole.kept_back));
    }
    let (mut free, mut kept_back) = (Vec::new(), Vec::new());
    for update in selected {
        let alone = std::slice::from_ref(update);
        match needs(&worker.packages.plan(alone, failed)?) {
            None => free.push(update.clone()),
            Some(why) => {
                let reason = format!("it needs another update: {why}");
                let kept = KeptBack::new(&update.package, KeptBackCause::RolledBack, reason);
                kept_back.push(kept.marked(update.security));
            }
        }
    }
    if free.is_empty() {
        return Ok((free, kept_back));
    }
    let plan = worker.packages.plan(&free, failed)?;
    kept_back.extend(plan.kept_back.iter().cloned());
    anyhow::ensure!(
        needs(&plan).is_none(),
        "what is pending cannot be had without what was rolled back"
    );
    Ok((plan.updates, kept_back))
}
