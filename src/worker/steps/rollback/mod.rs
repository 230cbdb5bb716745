//! Undoing an update: exactly the former versions come back, and the record says whether all is as before.

mod compare;
mod defaults;
mod etc;
mod files;
mod intent;
mod items;
mod marks;
mod partial;
mod reboots;
mod restore;
mod seen;
mod words;

pub use crate::worker::steps::rollback::intent::{Intent, forget, gate, shut_out_former};
pub(in crate::worker) use crate::worker::steps::rollback::partial::{
    Parts, cannot_go_back, log_unavailable, part,
};
#[cfg(test)]
pub use crate::worker::steps::rollback::seen::StateBefore;
pub use crate::worker::steps::rollback::seen::{
    copy_from_jobs as copy_seen_from_jobs, copy_to_jobs as copy_seen_to_jobs, files as seen_files,
    tidy as tidy_seen,
};

use std::collections::BTreeMap;

use anyhow::Result;

use crate::host::{clock, systemd};
use crate::journal;
use crate::package::{Change, RollbackItem};
use crate::request::JobId;
use crate::sorted::InOrder;
use crate::state::package_store::PackageStore;
use crate::state::verification::{Check, Rollback, Undone};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::shutdown;
use crate::worker::steps::hold_off;
use crate::worker::steps::rollback::compare::Looked;
use crate::worker::steps::rollback::items::{due, elsewhere, is_back};
use crate::worker::steps::rollback::seen::Earlier;
use crate::worker::steps::verify::{self, Baseline, Stage};

/// Looks at what no package database knows of the host before a transaction, while `meanwhile` is done. That it
/// cannot be looked at keeps nothing from being updated: it is not compared then.
pub fn remember<T>(
    ctx: &Context,
    transaction: &JobId,
    is_second: bool,
    meanwhile: impl FnOnce() -> T,
) -> T {
    let (paths, packages) = (&ctx.paths, &*ctx.packages);
    let (seen, answer) = std::thread::scope(|scope| {
        let looked = scope.spawn(move || seen::snapshot(paths, packages));
        let answer = meanwhile();
        (looked.join(), answer)
    });
    // both looks are over here, so that the files are always written in the same order
    let seen = seen.unwrap_or_else(|_| anyhow::bail!("the look at it failed"));
    if let Err(error) = seen.and_then(|seen| seen::leave(paths, transaction, is_second, &seen)) {
        tracing::warn!("the state of the host before the update is not recorded: {error:#}");
    }
    answer
}

/// Undoes a transaction that failed its verification; `None` when there is nothing to undo. As everywhere
/// here, an error leaves the rest to the next worker: the host is going down.
pub fn after(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    former: &[RollbackItem],
    checks: &[Check],
) -> Result<Option<Rollback>> {
    if former.is_empty() {
        return Ok(None);
    }
    if !ctx.config.rollback.automatic {
        let why = "rollback.automatic is off in the configuration";
        return Ok(Some(not_done(Undone::Disabled, why)));
    }
    if due(former, &ctx.packages.installed()?).is_empty() {
        // nothing has changed: the host may be at fault, and nothing speaks against the versions
        start_again(before);
        return Ok(None);
    }
    let against = checks.iter().filter(|check| check.decides_against());
    let reasons: Vec<&str> = against.map(|check| &*check.message).collect();
    let why = (&*reasons.join("; "), checks);
    let parts = part(ctx, former)?;
    let parts = if parts.is_of_use(ctx, checks) {
        parts
    } else {
        Parts::whole(former)
    };
    undo(ctx, transaction, before, parts, why).map(Some)
}

/// Undoes changes, for a reason and because of what these checks say; the record of it.
pub fn undo(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    parts: Parts,
    why: (&str, &[Check]),
) -> Result<Rollback> {
    match begin(ctx, transaction, parts, why) {
        Ok(intent) => carry_on(ctx, transaction, before, intent),
        Err(error) => {
            let why = format!("{error:#}");
            journal::rollback_failed(transaction, &why);
            Ok(not_done(Undone::Impossible, &why))
        }
    }
}

fn begin(
    ctx: &Context,
    transaction: &JobId,
    parts: Parts,
    (reason, checks): (&str, &[Check]),
) -> Result<Intent> {
    let mut former = parts.back;
    for due in due(&former, &ctx.packages.installed()?) {
        let Err(error) = due.check() else { continue };
        let other = elsewhere(ctx, &due).ok_or(error)?;
        former
            .iter_mut()
            .filter(|f| **f == due)
            .for_each(|f| *f = other.clone());
    }
    let overwritten = overwritten(ctx, &former);
    let intent = Intent {
        reason: reason.to_owned(),
        former,
        begun_at: clock::now(),
        attempt: 1,
        checks: checks.to_vec(),
        resumed: false,
        overwritten,
        stays: parts.stays,
        tool: None,
    };
    intent.create(&ctx.paths, transaction)?;
    Ok(intent)
}

/// Packages outside of the update that lose files with it. That this cannot be told keeps nothing from going
/// back.
fn overwritten(ctx: &Context, former: &[RollbackItem]) -> Vec<RollbackItem> {
    let store = PackageStore::open(&ctx.paths);
    let found = ctx.packages.overwritten(former, store.kept());
    found.unwrap_or_else(|error| {
        tracing::warn!("files that the update has taken over could not be looked for: {error:#}");
        Vec::new()
    })
}

/// Ends what a dead worker began, once; a second time the host is only looked at.
pub fn resume(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    intent: Intent,
) -> Result<Rollback> {
    if intent.resumed {
        let why = "it was interrupted twice, and is not tried again";
        let looked = inspect(ctx, &intent);
        let result = Err(anyhow::anyhow!(why));
        return conclude(ctx, transaction, before, &intent, result, looked);
    }
    let intent = Intent {
        resumed: true,
        ..intent
    };
    match intent.save(&ctx.paths, transaction) {
        Ok(()) => carry_on(ctx, transaction, before, intent),
        Err(error) => {
            let looked = inspect(ctx, &intent);
            conclude(ctx, transaction, before, &intent, Err(error), looked)
        }
    }
}

/// Looks at what is there, where nothing is changed any more.
fn inspect(ctx: &Context, intent: &Intent) -> Looked {
    Looked {
        files: files::compare(ctx, intent),
        stays: Vec::new(),
    }
}

/// Puts back what is not back yet, with all of its files, and looks at the host again.
fn carry_on(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    mut intent: Intent,
) -> Result<Rollback> {
    journal::rollback_started(transaction, &intent.reason, &sources(&intent.former));
    let _held_off = hold_off::hold_off(ctx, &format!("job {transaction} is undone"));
    let result = restore::rollback(ctx, transaction, before, &mut intent);
    let looked = Looked {
        files: files::make_whole(ctx, transaction, &intent),
        stays: compare::clear(ctx, transaction, &intent, &Earlier::of(ctx, transaction)),
    };
    conclude(ctx, transaction, before, &intent, result, looked)
}

/// What the package database says decides, not what the package manager said of itself.
fn conclude(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    intent: &Intent,
    result: Result<()>,
    looked: Looked,
) -> Result<Rollback> {
    start_again(before);
    let is_back = is_back(ctx, &intent.former);
    let judged = judge(ctx, transaction, before, intent, is_back)?;
    let mut why = judged.why;
    match &looked.files {
        Ok(files) => why.extend(files::against(files)),
        Err(error) => why.push(format!(
            "the files of the former versions could not be compared: {error:#}"
        )),
    }
    let good = (
        judged.is_good && is_back && why.is_empty(),
        &*judged.unrelated,
        &looked,
    );
    let earlier = Earlier::of(ctx, transaction);
    let (compared, stayed) = compare::run(ctx, before, intent, &earlier, good);
    let (as_before, summary) = (compared.as_before(), compared.sentence());
    if !is_back {
        let words = result.err().map(|error| format!("{error:#}"));
        why.insert(
            0,
            words.unwrap_or_else(|| "not every former version is back".to_owned()),
        );
    }
    let error = (!why.is_empty()).then(|| journal::plain(&why.join("; ")));
    let outcome = if is_back {
        let compared = (as_before, &*summary);
        journal::rolled_back(transaction, intent.former.len(), compared, error.as_deref());
        Undone::RolledBack
    } else {
        journal::rollback_failed(transaction, error.as_deref().unwrap_or("unknown"));
        Undone::Failed
    };
    Ok(Rollback {
        sources: sources(&intent.former),
        outcome,
        as_before,
        compared: compared.named(),
        summary: if is_back { summary } else { String::new() },
        etc: compared.etc_named(),
        stayed,
        verification: judged.checks,
        error,
        tool: intent.tool.clone(),
        files: looked.files.unwrap_or_default(),
    })
}

/// What the verification after a rollback has found.
#[derive(Default)]
struct Judged {
    checks: Vec<Check>,
    /// A sentence for each check that decides against the host, and for each package in another build.
    why: Vec<String>,
    /// A sentence for each change of a package outside of the rollback.
    unrelated: Vec<String>,
    /// Whether no check failed, and every package that went back is as it was.
    is_good: bool,
}

/// Verifies the host after a rollback; an error if a shutdown explains what is wrong, so that the worker after the
/// next boot verifies it again.
fn judge(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    intent: &Intent,
    is_back: bool,
) -> Result<Judged> {
    let undone: Vec<Change> = intent.former.iter().map(RollbackItem::undone).collect();
    let stays = intent.stays.iter().map(|former| former.change.clone());
    let expected: Vec<Change> = undone.iter().cloned().chain(stays).collect();
    let judged = verify::judge(ctx, transaction, before, &expected, Stage::RolledBack, &[]);
    let is_good = judged.as_ref().is_ok_and(|j| j.failures().is_empty());
    if !(is_back && is_good) {
        shutdown::bail_if_shutdown_explains()?;
    }
    let judgement = match judged {
        Ok(judgement) => judgement,
        Err(error) => {
            tracing::error!("{error:#}");
            return Ok(Judged::default());
        }
    };
    let changed = &judgement.verdict.changes;
    let is_unchanged = |change: &Change| !changed.iter().any(|found| found.key() == change.key());
    let wrong = judgement
        .checks
        .iter()
        .filter(|check| check.decides_against());
    let mut why: Vec<String> = wrong.map(|check| check.message.clone()).collect();
    why.extend(other_builds(&undone, changed));
    Ok(Judged {
        is_good: is_good && undone.iter().all(is_unchanged),
        unrelated: judgement.verdict.unrelated_sentences(),
        why,
        checks: judgement.checks,
    })
}

/// The packages that have their former version back, and in another build than it was, a sentence each: pure.
fn other_builds(undone: &[Change], changed: &[Change]) -> Vec<String> {
    let is_undone = |found: &&Change| undone.iter().any(|change| change.key() == found.key());
    let rebuilt = changed.iter().filter(|found| found.rebuilt.is_some());
    let sentence = |found: &Change| {
        let (key, version) = (found.key(), found.to.as_deref().unwrap_or_default());
        format!("{key} is back in {version}, but in another build of it than before")
    };
    rebuilt.filter(is_undone).map(sentence).collect()
}

/// Starts the services that ran before the update and do not now: a package need not do that when it
/// goes back.
fn start_again(before: &Baseline) {
    let Some(units) = &before.rest.units else {
        return;
    };
    let Ok(now) = verify::units_snapshot() else {
        return;
    };
    let ran = units.services.iter().filter(|(name, service)| {
        service.sub == "running" && units.boot == now.boot && now.failed.contains(*name)
    });
    for (name, _) in ran {
        if let Err(error) = systemd::start_unit(name) {
            tracing::warn!("{name} could not be started again: {error:#}");
        }
    }
}

fn sources(former: &[RollbackItem]) -> BTreeMap<String, String> {
    let source = |former: &RollbackItem| {
        let source = former.source.as_str().to_owned();
        (former.change.former_key().to_string(), source)
    };
    former.iter().map(source).in_order()
}

fn not_done(outcome: Undone, why: &str) -> Rollback {
    Rollback {
        sources: BTreeMap::new(),
        outcome,
        as_before: false,
        compared: Vec::new(),
        summary: String::new(),
        etc: Vec::new(),
        stayed: Vec::new(),
        verification: Vec::new(),
        error: Some(journal::plain(why)),
        tool: None,
        files: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::intent::tests::former;
    use super::*;
    use crate::package::RollbackSource;

    #[test]
    fn another_build_than_before_is_named() {
        let undone = [former("a", Some("1"), RollbackSource::Archive).undone()];
        let found = Change {
            from: Some("1".into()),
            rebuilt: Some(crate::package::Rebuilt::default()),
            ..undone[0].clone()
        };
        let unrelated = Change {
            package: "b".into(),
            ..found.clone()
        };
        let said = other_builds(&undone, &[found, unrelated]);
        assert_eq!(
            said,
            ["a:all is back in 1, but in another build of it than before"]
        );
        assert!(other_builds(&undone, &undone).is_empty());
    }
}
