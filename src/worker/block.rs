//! What was rolled back is not tried again as it was: set, lapsed, forgotten.

use anyhow::Result;
use serde_json::Map;

use super::refresh;
use super::space::NoRoom;
use crate::host::clock;
use crate::journal;
use crate::package::{AllOrNothing, Change, KeptBack, KeptBackCause, Pending, Source, Update};
use crate::request::JobId;
use crate::state::blocked::{Block, Blocked};
use crate::state::pending::PendingList;
use crate::worker::bookkeeping::context::Context;

/// Who decided that changes are rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The verification of the update.
    Verification,
    /// An administrator, who has asked for it.
    Hand,
}

/// Does not offer these changes again.
pub fn set(ctx: &Context, job: &JobId, changes: Vec<Change>, (by, reason): (By, &str)) {
    let shown: Vec<String> = changes
        .iter()
        .filter_map(|change| Some(format!("{}={}", change.key(), change.to.as_ref()?)))
        .collect();
    let mut blocked = Blocked::load_to_change(&ctx.paths);
    blocked.forget(job);
    blocked.sets.push(Block {
        job: job.clone(),
        at: clock::now(),
        reason: journal::plain(reason),
        by_hand: by == By::Hand,
        changes,
        other: Map::new(),
    });
    match blocked.save(&ctx.paths) {
        Ok(()) => journal::blocked(job, &shown.join(" ")),
        Err(error) => tracing::error!("{error:#}"),
    }
}

/// Somebody wants what this job had installed to be offered again.
pub fn forget(ctx: &Context, job: &JobId) {
    let mut blocked = Blocked::load_to_change(&ctx.paths);
    if !blocked.forget(job) {
        return;
    }
    let offered = blocked.save(&ctx.paths).and_then(|()| {
        journal::unblocked(job, "somebody has asked for that");
        forget_list(ctx)?;
        refresh::list_pending(ctx)
    });
    if let Err(error) = offered {
        tracing::error!("{error:#}");
    }
}

/// The list of pending updates no longer holds.
fn forget_list(ctx: &Context) -> Result<()> {
    match PendingList::load(&ctx.paths) {
        Some(mut list) => {
            list.fingerprint = None;
            list.save(&ctx.paths).map(drop)
        }
        None => Ok(()),
    }
}

/// What is offered of what is pending. Where a newer version has come, what was rolled back is free again.
pub fn offered(ctx: &Context, pending: Pending) -> Result<Pending> {
    let mut blocked = Blocked::load_to_change(&ctx.paths);
    if blocked.is_empty() {
        return Ok(pending);
    }
    let over = blocked.lapse(&pending);
    if !over.is_empty() {
        blocked.save(&ctx.paths)?;
    }
    for set in over {
        journal::unblocked(&set.job, "there is another version of one of its packages");
    }
    Ok(blocked.offered(pending))
}

/// The exact changes that installing `selected` needs, without what was rolled back and what has no room: an
/// update that needs one of those, too, is kept back.
pub fn plan(
    ctx: &Context,
    selected: &[Update],
    failed: &[&Source],
    without: &[NoRoom],
) -> Result<(Vec<Update>, Vec<KeptBack>)> {
    let barred = Barred {
        blocked: Blocked::load_to_change(&ctx.paths),
        without,
    };
    let mut kept_back: Vec<KeptBack> = Vec::new();
    let mut left = selected.to_vec();
    for short in without {
        let security = selected
            .iter()
            .any(|update| short.is(update) && update.security);
        kept_back.push(short.kept_back().marked(security));
        left.retain(|update| !short.is(update));
    }
    if left.is_empty() {
        return Ok((left, kept_back));
    }
    let left_out: Vec<String> = without
        .iter()
        .map(|short| short.change.package.clone())
        .collect();
    let plan = |updates: &[Update]| ctx.packages.plan_without(&left_out, updates, failed);
    let whole = match plan(&left) {
        Ok(whole) => whole,
        Err(error) if error.is::<AllOrNothing>() && !barred.is_empty() => {
            let (cause, why) = barred.all();
            let reason = format!("it cannot be had without what {why}: {error:#}");
            kept_back.extend(left.iter().map(|update| {
                KeptBack::new(&update.package, cause, &reason).marked(update.security)
            }));
            return Ok((Vec::new(), kept_back));
        }
        Err(error) => return Err(error),
    };
    if barred.needed(&whole).is_none() {
        kept_back.extend(whole.kept_back);
        return Ok((whole.updates, kept_back));
    }
    let (free, kept) = part(&left, &barred, &plan)?;
    kept_back.extend(kept);
    if free.is_empty() {
        return Ok((free, kept_back));
    }
    let planned = plan(&free)?;
    kept_back.extend(planned.kept_back.iter().cloned());
    anyhow::ensure!(
        barred.needed(&planned).is_none(),
        "what is pending cannot be had without what {}",
        barred.all().1
    );
    Ok((planned.updates, kept_back))
}

/// What may not be installed now.
struct Barred<'a> {
    blocked: Blocked,
    without: &'a [NoRoom],
}

impl Barred<'_> {
    fn is_empty(&self) -> bool {
        self.blocked.is_empty() && self.without.is_empty()
    }

    /// Why something that is planned may not be.
    fn needed(&self, plan: &Pending) -> Option<(KeptBackCause, String)> {
        let why = |update: &Update| {
            let blocked = self.blocked.why(update);
            let blocked = blocked.map(|why| (KeptBackCause::RolledBack, why));
            blocked.or_else(|| {
                let short = self.without.iter().find(|short| short.is(update))?;
                let why = format!("{} {}", short.change.package, short.reason);
                Some((KeptBackCause::Space, why))
            })
        };
        plan.updates.iter().find_map(why)
    }

    /// What all of it is.
    fn all(&self) -> (KeptBackCause, String) {
        if self.blocked.is_empty() {
            return (KeptBackCause::Space, "has no room".to_owned());
        }
        let jobs: Vec<&str> = self
            .blocked
            .sets
            .iter()
            .map(|set| set.job.as_str())
            .collect();
        let why = format!("was rolled back in job {}", jobs.join(", "));
        (KeptBackCause::RolledBack, why)
    }
}

/// The updates that need nothing that is barred, and the others: halves are tried until each is one or the other.
fn part(
    updates: &[Update],
    barred: &Barred<'_>,
    plan: &dyn Fn(&[Update]) -> Result<Pending>,
) -> Result<(Vec<Update>, Vec<KeptBack>)> {
    let Some(why) = barred.needed(&plan(updates)?) else {
        return Ok((updates.to_vec(), Vec::new()));
    };
    if let [update] = updates {
        let (cause, why) = why;
        let reason = format!("it needs another update: {why}");
        let kept = KeptBack::new(&update.package, cause, reason);
        return Ok((Vec::new(), vec![kept.marked(update.security)]));
    }
    let (first, second) = updates.split_at(updates.len() / 2);
    let (mut free, mut kept_back) = part(first, barred, plan)?;
    let (more, kept) = part(second, barred, plan)?;
    free.extend(more);
    kept_back.extend(kept);
    Ok((free, kept_back))
}
