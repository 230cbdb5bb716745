//! One transaction: planned, let through the gate, run, and judged by the package database.

use anyhow::{Context as _, Result, bail, ensure};

use crate::fs::remove_durably;
use crate::journal;
use crate::package::{
    self, Change, KeptBack, Selection, Source, Transaction, TransactionEnd, TransactionReport,
};
use crate::request::JobId;
use crate::state::cache::Cache;
use crate::state::job::{self, Job};
use crate::state::update::Phase;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::intent::{Intent, expectation};
use crate::worker::bookkeeping::phase::Update;
use crate::worker::bookkeeping::{errors, job_result, shutdown};
use crate::worker::model::lifecycle::Event;
use crate::worker::model::{partial, selection};
use crate::worker::monitor::progress::{self, ApplyObserver};
use crate::worker::steps::disk_space::{self, Room, make_room};
use crate::worker::steps::verify::{self, Baseline};
use crate::worker::steps::{gate, hold_off, refresh, repair, rollback};
use crate::worker::transaction::conclude::conclude;
use crate::worker::transaction::outcome::Outcome;
use crate::worker::transaction::plan::{self, Plan, Scope};
use crate::worker::transaction::unfinished;

/// How one part ended.
pub struct Ending {
    pub outcome: Outcome,
    /// Whether our own package was taken out, and is due now.
    pub self_package_follows: bool,
}

impl Ending {
    fn of(outcome: Outcome, self_package_follows: bool) -> Self {
        Self {
            outcome,
            self_package_follows,
        }
    }
}

/// The transaction, and once more with a new index and a new plan when a download failed.
pub fn run(
    ctx: &Context,
    transaction: &JobId,
    jobs: &[Job],
    update: &mut Update<'_>,
    part: Scope,
) -> Result<Ending> {
    let mut room = Room::default();
    match attempt(ctx, transaction, jobs, update, (part, &mut room))? {
        Ok(ending) => Ok(ending),
        Err(why) => {
            journal::retry(transaction, &why);
            update.step(Event::FetchError)?;
            match refresh::run(ctx, Some(transaction)) {
                Err(_) if ctx.stopping() => {
                    update.cancel();
                    return Ok(Ending::of(Outcome::Cancelled, false));
                }
                other => other?,
            }
            room.without.clear();
            attempt(ctx, transaction, jobs, update, (part, &mut room))?
                .or_else(|why| bail!("{why}"))
        }
    }
}

/// One attempt, without what has no room; the inner error is one that a new refresh may heal.
fn attempt(
    ctx: &Context,
    transaction: &JobId,
    jobs: &[Job],
    update: &mut Update<'_>,
    (part, room): (Scope, &mut Room),
) -> Result<Result<Ending, String>> {
    repair::before(ctx, transaction)?;
    let cache = Cache::load(&ctx.paths);
    let failed = cache.failed_sources();
    let Plan {
        selection,
        kept_back,
        self_package_follows,
        without,
    } = plan::selection(ctx, jobs, &failed, (part, &room.without))?;
    room.without = without;
    if make_room(ctx, transaction, room) {
        return attempt(ctx, transaction, jobs, update, (part, room));
    }
    if selection == Selection::Exactly(Vec::new()) {
        let without = &room.without;
        ensure!(
            without.is_empty(),
            "refused: {}",
            disk_space::sentence(without)
        );
        return nothing(ctx, transaction, jobs, kept_back, update)
            .map(|outcome| Ok(Ending::of(outcome, false)));
    }
    disk_space::check_floors()?;
    let done = partial::AppliedSoFar::of(jobs);
    let Some(before) = before(ctx, transaction, jobs, (&selection, &failed), &done)? else {
        update.cancel();
        return Ok(Ok(Ending::of(Outcome::Cancelled, false)));
    };
    remove_durably(&job::intent(&ctx.paths, transaction))?;
    rollback::forget(&ctx.paths, transaction)?;
    plan::expect(ctx, transaction, jobs, &selection)?;
    if update.state.phase == Phase::Checking {
        update.step(Event::Download)?;
    }

    // until it is judged: services that end with the host would look as if the update had broken them
    let held_off = hold_off::hold_off(ctx, &format!("job {transaction} updates packages"));
    let _held_off = held_off.ensured()?;
    let applied = run_transaction(ctx, jobs, &selection, &failed, update)?;
    let applied = TransactionReport {
        kept_back: [kept_back, applied.kept_back].concat(),
        ..applied
    };

    let _ = std::fs::remove_file(expectation(&ctx.paths, transaction));
    let intent = Intent::load(&ctx.paths, transaction)
        .map_err(|why| anyhow::anyhow!("the change list cannot be read: {why}"))?;
    match (intent, applied.ended.clone()) {
        // nothing was due, and the package manager has configured what was left half-configured
        (Some(Intent::Activated { changes, .. }), ended) if changes.is_empty() => {
            shutdown::bail_if_shutting_down(ctx)?;
            repair::after(ctx, transaction, &changes, &ended)?;
            let outcome = nothing(ctx, transaction, jobs, applied.kept_back, update)?;
            Ok(Ok(Ending::of(outcome, self_package_follows)))
        }
        (Some(Intent::Activated { changes, former }), _) => {
            update.activated(transaction, &changes)?;
            shutdown::bail_if_shutting_down(ctx)?;
            repair::after(ctx, transaction, &changes, &applied.ended)?;
            progress::verifying(ctx, transaction);
            let (changes, former) = done.with(changes, former);
            let intent = (&*changes, former);
            let mut outcome = conclude(ctx, transaction, &before, intent, applied, update)?;
            if let Outcome::Changed(concluded) = &mut outcome {
                concluded.removed = room.removed().to_vec();
            }
            Ok(Ok(Ending::of(outcome, self_package_follows)))
        }
        (Some(Intent::Mixed), _) => {
            attempt(ctx, transaction, jobs, update, (Scope::WithoutSelf, room))
        }
        (Some(Intent::NoRoom { without: more }), _) => {
            room.without.extend(more);
            attempt(ctx, transaction, jobs, update, (part, room))
        }
        (Some(Intent::Stopped), _) | (None, TransactionEnd::Stopped) => {
            update.cancel();
            Ok(Ok(Ending::of(Outcome::Cancelled, false)))
        }
        (None, TransactionEnd::FetchFailed(reason) | TransactionEnd::Interrupted(reason)) => {
            Ok(Err(reason))
        }
        (
            Some(Intent::Refused {
                reason,
                again,
                postponed,
            }),
            _,
        ) => refused(reason, again, postponed),
        (None, TransactionEnd::Failed(why)) => {
            // some package managers look at the room before they ask the gate
            let more = plan::short(ctx, &selection, &failed);
            ensure!(!more.is_empty(), "{why}");
            room.without.extend(more);
            attempt(ctx, transaction, jobs, update, (part, room))
        }
        (None, TransactionEnd::Done) => {
            nothing_was_due(ctx, &selection, &failed)?;
            let outcome = nothing(ctx, transaction, jobs, applied.kept_back, update)?;
            Ok(Ok(Ending::of(outcome, self_package_follows)))
        }
    }
}

/// The gate stayed shut: another attempt may go through, the jobs wait, or they fail.
fn refused(reason: String, again: bool, postponed: bool) -> Result<Result<Ending, String>> {
    match (again, postponed) {
        (true, _) => Ok(Err(reason)),
        (false, true) => Err(errors::Postponed(reason).into()),
        (false, false) => bail!("refused: {reason}"),
    }
}

/// The host before the transaction, also as the administrator's programs see it; none when a stop was asked
/// for meanwhile.
fn before(
    ctx: &Context,
    transaction: &JobId,
    jobs: &[Job],
    (selection, failed): (&Selection, &[&Source]),
    done: &partial::AppliedSoFar,
) -> Result<Option<Baseline>> {
    if !done.changes.is_empty() {
        return Baseline::first_part(ctx, transaction, jobs, &done.changes).map(Some);
    }
    let planned: Vec<Change> = match selection {
        // what that is, only the package manager will say
        Selection::Everything => Vec::new(),
        Selection::Exactly(updates) => updates.iter().map(Change::from).collect(),
    };
    if *selection == Selection::Everything && plan::is_nothing_due(ctx, failed) {
        return Baseline::snapshot(ctx, transaction, None).map(Some);
    }
    let Some(hooks) = verify::baseline(ctx, jobs, &planned, false)? else {
        return Ok(None);
    };
    let is_second = jobs.iter().any(|job| !job.earlier.is_empty());
    rollback::remember(ctx, transaction, is_second, || {
        Baseline::snapshot(ctx, transaction, Some(hooks)).map(Some)
    })
}

/// The package manager has ended well without asking the gate: an error when updates are due all the same, as
/// where its configuration has it only download or pretend.
fn nothing_was_due(ctx: &Context, selection: &Selection, failed: &[&Source]) -> Result<()> {
    let due = match selection {
        Selection::Everything if plan::is_nothing_due(ctx, failed) => 0,
        Selection::Everything => ctx.packages.pending(failed)?.updates.len(),
        Selection::Exactly(updates) => {
            let now = ctx.packages.installed()?;
            let is_there = |update: &&package::Update| {
                let now = now.get(&update.key());
                now.is_some_and(|now| now.version == update.candidate)
            };
            updates.len() - updates.iter().filter(is_there).count()
        }
    };
    ensure!(
        due == 0,
        "{} ended without an error and changed nothing, and {due} of the updates are still due: look in its \
         configuration for what has it only download or pretend (such as APT::Get::Download-Only, \
         APT::Get::Simulate, tsflags=test)",
        ctx.packages.name()
    );
    Ok(())
}

/// There is nothing to install, which is a success unless a package that is asked for is broken. What jobs
/// that were put back have done before is all there is to judge then.
fn nothing(
    ctx: &Context,
    transaction: &JobId,
    jobs: &[Job],
    kept_back: Vec<KeptBack>,
    update: &mut Update<'_>,
) -> Result<Outcome> {
    let done = partial::AppliedSoFar::of(jobs);
    if !done.changes.is_empty() {
        return unfinished::judge(ctx, transaction, done, (jobs, kept_back), None, update);
    }
    if let Some(why) = selection::broken(jobs, &ctx.packages.installed()?) {
        bail!("{why}, and no update of it is pending");
    }
    let missed = jobs
        .iter()
        .filter_map(|job| job.request.packages.as_ref())
        .find_map(|target| job_result::unreached(target, &kept_back));
    match missed {
        None => update.step(Event::NothingToDo)?,
        Some(why) => update.fail(&why),
    }
    Ok(Outcome::Nothing { kept_back })
}

fn run_transaction(
    ctx: &Context,
    jobs: &[Job],
    selection: &Selection,
    failed: &[&Source],
    update: &mut Update<'_>,
) -> Result<TransactionReport> {
    let transaction = jobs.first().map(|job| &job.transaction).context("no job")?;
    let program = gate::program(&ctx.paths)?;
    let arguments = gate::arguments(transaction);
    let log = job::log(&ctx.paths, transaction);
    let run = Transaction {
        selection,
        failed,
        log: &log,
        gate: (&program, &arguments),
    };
    ctx.packages.apply(
        &run,
        &mut ApplyObserver::new(ctx, jobs, transaction, update),
    )
}
