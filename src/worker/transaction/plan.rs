//! What a transaction is to install, and what the gate is told of it.

use std::time::SystemTime;

use anyhow::{Result, bail};

use crate::PACKAGE;
use crate::fs::write_atomically;
use crate::package::{
    AllOrNothing, Change, KeptBack, KeptBackCause, Pending, Selection, Source, Update,
};
use crate::request::{JobId, Target};
use crate::state::blocked::Blocked;
use crate::state::job::Job;
use crate::state::pending::PendingList;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::intent::{Expectation, NoRoom, expectation};
use crate::worker::model::selection;
use crate::worker::steps::{disk_space, foreign_shutdown, refresh};

/// Which part of the requested updates a transaction installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it. Our own package is taken out if it is among others.
    All,
    /// The same, after the package manager was about to change our own package among others.
    WithoutSelf,
    /// Our own package, after the others.
    SelfOnly,
}

/// What to install.
pub struct Plan {
    pub selection: Selection,
    pub kept_back: Vec<KeptBack>,
    /// Whether our own package was taken out.
    pub self_package_follows: bool,
    /// What has no room, as far as that is known.
    pub without: Vec<NoRoom>,
}

/// What to install: everything that is due, or exactly what the jobs name and that needs.
pub fn selection(
    ctx: &Context,
    jobs: &[Job],
    failed: &[&Source],
    scope: Scope,
    without: &[NoRoom],
) -> Result<Plan> {
    let fingerprint = ctx.packages.fingerprint(failed);
    let list = PendingList::load(&ctx.paths).filter(|list| list.is_for(&fingerprint));
    let mut list = list.map(|list| list.pending);
    let is_everything = jobs
        .iter()
        .any(|job| job.request.packages == Some(Target::All));
    if scope == Scope::All
        && is_everything
        && without.is_empty()
        && Blocked::load_to_change(&ctx.paths).is_empty()
        && !needs_exact_plan(ctx, &mut list, failed)?
    {
        return Ok(Plan {
            selection: Selection::Everything,
            kept_back: Vec::new(),
            self_package_follows: false,
            without: Vec::new(),
        });
    }
    let pending = match list {
        Some(list) => list,
        None => refresh::pending(ctx, failed)?,
    };
    let is_for_security = |job: &Job| job.request.packages == Some(Target::Security);
    if jobs.iter().any(is_for_security)
        && let Some(why) = ctx.packages.no_security()?
    {
        bail!("it is not known which updates are for security: {why}");
    }
    exactly(
        ctx,
        selection::selected(jobs, &pending),
        pending.kept_back,
        failed,
        scope,
        without,
    )
}

/// Whether the package manager must be given the exact list of updates even where everything is requested. The list
/// of pending updates is made if that depends on it.
fn needs_exact_plan(ctx: &Context, list: &mut Option<Pending>, failed: &[&Source]) -> Result<bool> {
    let early = list.as_ref().map(|list| early(ctx, &list.updates, failed));
    let is_needed = early.is_some_and(|early| !early.is_empty())
        || ctx.packages.must_be_told(list.as_ref(), failed)?;
    if is_needed && list.is_none() {
        *list = Some(refresh::pending(ctx, failed)?);
        return ctx.packages.must_be_told(list.as_ref(), failed);
    }
    Ok(is_needed)
}

/// Exactly these updates, as far as the scope takes them and there is room for them.
fn exactly(
    ctx: &Context,
    mut selected: Vec<Update>,
    mut kept_back: Vec<KeptBack>,
    failed: &[&Source],
    scope: Scope,
    without: &[NoRoom],
) -> Result<Plan> {
    if scope == Scope::SelfOnly {
        selected.retain(|update| update.package == PACKAGE);
    }
    let others = match scope {
        Scope::SelfOnly => None,
        Scope::All | Scope::WithoutSelf => others_of(ctx, &selected, failed)?,
    };
    let self_package_follows = others.is_some();
    let planned = match others {
        Some(others) if without.is_empty() => ExactPlan::whole(others, &[]),
        Some(others) => with_room(ctx, &others, failed, without)?,
        None if selected.is_empty() => ExactPlan::whole(selected, without),
        None => with_room(ctx, &selected, failed, without)?,
    };
    kept_back.extend(planned.kept_back);
    Ok(Plan {
        selection: Selection::Exactly(planned.updates),
        kept_back,
        self_package_follows,
        without: planned.without,
    })
}

/// The changes of a plan, and what it leaves out.
pub struct ExactPlan {
    pub updates: Vec<Update>,
    pub kept_back: Vec<KeptBack>,
    /// What lacks disk space, as far as that is known.
    pub without: Vec<NoRoom>,
}

impl ExactPlan {
    fn whole(updates: Vec<Update>, without: &[NoRoom]) -> Self {
        Self {
            updates,
            kept_back: Vec::new(),
            without: without.to_vec(),
        }
    }
}

/// The plan without what has no room: what is known of that, and for kernels also what can be foreseen before
/// anything is fetched.
pub fn with_room(
    ctx: &Context,
    selected: &[Update],
    failed: &[&Source],
    without: &[NoRoom],
) -> Result<ExactPlan> {
    let (mut updates, mut kept_back) = plan(ctx, selected, failed, without)?;
    let early = early(ctx, &updates, failed);
    let without = [without, &early].concat();
    if !early.is_empty() {
        (updates, kept_back) = plan(ctx, selected, failed, &without)?;
    }
    Ok(ExactPlan {
        updates,
        kept_back,
        without,
    })
}

/// What will have no room of updates with a kernel, by the sizes of the index and of what is in /boot. It costs
/// a question to the index, which other updates can be spared: the gate counts what was fetched.
fn early(ctx: &Context, updates: &[Update], failed: &[&Source]) -> Vec<NoRoom> {
    if updates
        .iter()
        .any(|update| disk_space::is_for_boot(&*ctx.packages, &update.package))
    {
        short(ctx, &Selection::Exactly(updates.to_vec()), failed)
    } else {
        Vec::new()
    }
}

/// What of a selection has no room, by the package files that are in the caches; nothing where that cannot be told.
pub fn short(ctx: &Context, selection: &Selection, failed: &[&Source]) -> Vec<NoRoom> {
    let packages = &*ctx.packages;
    let updates = match selection {
        Selection::Exactly(updates) => Ok(updates.clone()),
        Selection::Everything => packages.pending(failed).map(|pending| pending.updates),
    };
    let short =
        updates.and_then(|updates| disk_space::short(packages, &packages.fetched(&updates)));
    short.unwrap_or_else(|error| {
        tracing::debug!("the free disk space was not checked: {error:#}");
        Vec::new()
    })
}

/// Whether it is known that nothing is due: the list of what is pending still holds, and is empty.
pub fn is_nothing_due(ctx: &Context, failed: &[&Source]) -> bool {
    let list = PendingList::load(&ctx.paths).filter(|list| list.pending.updates.is_empty());
    list.is_some_and(|list| list.is_for(&ctx.packages.fingerprint(failed)))
}

/// Leaves for the gate what it may let through.
pub fn expect(
    ctx: &Context,
    transaction: &JobId,
    jobs: &[Job],
    selection: &Selection,
) -> Result<()> {
    let plan = match selection {
        Selection::Everything => None,
        Selection::Exactly(updates) => Some(updates.iter().map(Change::from).collect()),
    };
    let expected = Expectation {
        since: Some(SystemTime::now()),
        plan,
        require_rollback: ctx.config.rollback.require,
        foreign_shutdown: foreign_shutdown::policy(ctx, jobs),
    };
    let bytes = serde_json::to_vec(&expected)?;
    write_atomically(&expectation(&ctx.paths, transaction), &bytes, 0o600)
}

/// What is left of a plan without our own package, when it can be left out: others may need its new
/// version, and some package managers change everything or nothing.
pub fn others_of(
    ctx: &Context,
    selected: &[Update],
    failed: &[&Source],
) -> Result<Option<Vec<Update>>> {
    let others: Vec<Update> = selected
        .iter()
        .filter(|update| update.package != PACKAGE)
        .cloned()
        .collect();
    if others.is_empty() || others.len() == selected.len() {
        return Ok(None);
    }
    let plan = match ctx.packages.plan(&others, failed) {
        Ok(plan) => plan.updates,
        Err(error) if error.is::<AllOrNothing>() => return Ok(None),
        Err(error) => return Err(error),
    };
    let whole = others
        .iter()
        .all(|other| plan.iter().any(|update| update.key() == other.key()));
    let apart = plan.iter().all(|update| update.package != PACKAGE);
    Ok((whole && apart).then_some(plan))
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
            let reason = format!("it cannot be installed without what {why}: {error:#}");
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
        "pending updates cannot be installed without what {}",
        barred.all().1
    );
    Ok((planned.updates, kept_back))
}

/// What may not be installed now.
pub struct Barred<'a> {
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
pub fn part(
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
