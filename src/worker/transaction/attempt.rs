//! One transaction: planned, let through the gate, run, and judged by the package database.

use anyhow::{Result, bail, ensure};

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
use crate::worker::bookkeeping::intent::{Intent, NoRoom, expectation};
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::bookkeeping::{errors, job_result, shutdown};
use crate::worker::model::lifecycle::PhaseEvent;
use crate::worker::model::partial::{AppliedSoFar, Approved};
use crate::worker::model::selection;
use crate::worker::monitor::observer::Monitor;
use crate::worker::monitor::progress;
use crate::worker::steps::disk_space::{self, Room, make_room};
use crate::worker::steps::hold_off::{self, HeldOff};
use crate::worker::steps::verify::{self, Baseline};
use crate::worker::steps::{gate, refresh, repair, rollback};
use crate::worker::transaction::conclude::conclude;
use crate::worker::transaction::outcome::TransactionOutcome;
use crate::worker::transaction::plan::{self, Plan, Scope};
use crate::worker::transaction::unfinished::{self, AppliedPart};

/// How a transaction ended.
pub struct Ending {
    pub outcome: TransactionOutcome,
    /// Whether our own package was taken out, and is due now.
    pub self_package_follows: bool,
}

/// How one attempt at a transaction ended, unless with an error.
enum Attempt {
    /// The transaction is over.
    Ended(Ending),
    /// A download failed, or the plan no longer held: another refresh may help, once.
    FetchFailed(String),
    /// The package manager was about to change our own package among others: it is left out.
    SelfPackageMixed,
    /// These changes lack disk space: the others are tried without them.
    NoRoom(Vec<NoRoom>),
    /// Old kernels were removed: the disk space check is repeated.
    RoomMade,
}

impl Attempt {
    fn ended(outcome: TransactionOutcome, self_package_follows: bool) -> Self {
        Self::Ended(Ending {
            outcome,
            self_package_follows,
        })
    }

    fn cancelled() -> Self {
        Self::ended(TransactionOutcome::Cancelled, false)
    }
}

/// A transaction while it is attempted.
struct Attempts<'a, 'u> {
    ctx: &'a Context,
    transaction: &'a JobId,
    jobs: &'a [Job],
    update: &'a mut CurrentUpdate<'u>,
    scope: Scope,
    room: Room,
    /// Shutdown and sleep are inhibited from the first run of the package manager to the end.
    held_off: Option<HeldOff>,
}

/// What the package manager was asked for, and what it reported.
struct Ran<'a> {
    before: Baseline,
    /// What these jobs had applied before.
    so_far: AppliedSoFar,
    selection: Selection,
    failed: &'a [&'a Source],
    self_package_follows: bool,
    report: TransactionReport,
}

/// Attempts the transaction until it ends; after a failed download once more, with a new index and a new plan.
pub fn run(
    ctx: &Context,
    transaction: &JobId,
    jobs: &[Job],
    update: &mut CurrentUpdate<'_>,
    scope: Scope,
) -> Result<Ending> {
    let mut attempts = Attempts {
        ctx,
        transaction,
        jobs,
        update,
        scope,
        room: Room::default(),
        held_off: None,
    };
    let mut is_refreshed = false;
    loop {
        match attempts.attempt()? {
            Attempt::Ended(ending) => return Ok(ending),
            Attempt::FetchFailed(why) if is_refreshed => bail!("{why}"),
            Attempt::FetchFailed(why) => {
                is_refreshed = true;
                attempts.held_off = None;
                attempts.scope = scope;
                if !attempts.refresh(&why)? {
                    return Ok(Ending {
                        outcome: TransactionOutcome::Cancelled,
                        self_package_follows: false,
                    });
                }
            }
            Attempt::SelfPackageMixed => attempts.scope = Scope::WithoutSelf,
            Attempt::NoRoom(more) => attempts.room.without.extend(more),
            Attempt::RoomMade => {}
        }
    }
}

impl Attempts<'_, '_> {
    /// Refreshes the index after a failed download; `false` when a stop was asked for meanwhile.
    fn refresh(&mut self, why: &str) -> Result<bool> {
        journal::retry(self.transaction, why);
        self.update.step(PhaseEvent::FetchError)?;
        match refresh::run(self.ctx, Some(self.transaction)) {
            Err(_) if self.ctx.stopping() => {
                self.update.cancel();
                return Ok(false);
            }
            other => other?,
        }
        self.room.without.clear();
        Ok(true)
    }

    /// One attempt, without what is known to lack disk space.
    fn attempt(&mut self) -> Result<Attempt> {
        let (ctx, transaction, jobs) = (self.ctx, self.transaction, self.jobs);
        repair::before(ctx, transaction)?;
        let cache = Cache::load(&ctx.paths);
        let failed = cache.failed_sources();
        let Plan {
            selection,
            kept_back,
            self_package_follows,
            without,
        } = plan::selection(ctx, jobs, &failed, self.scope, &self.room.without)?;
        self.room.without = without;
        if make_room(ctx, transaction, &mut self.room) {
            return Ok(Attempt::RoomMade);
        }
        if selection == Selection::Exactly(Vec::new()) {
            let without = &self.room.without;
            ensure!(
                without.is_empty(),
                "refused: {}",
                disk_space::sentence(without)
            );
            return Ok(Attempt::ended(self.nothing_to_install(kept_back)?, false));
        }
        disk_space::check_floors(&*self.ctx.packages)?;
        let so_far = AppliedSoFar::of(jobs);
        let Some(before) = self.before(&selection, &failed, &so_far)? else {
            self.update.cancel();
            return Ok(Attempt::cancelled());
        };
        let report = self.run_package_manager(&selection, &failed)?;
        self.judge(Ran {
            before,
            so_far,
            selection,
            failed: &failed,
            self_package_follows,
            report: TransactionReport {
                kept_back: [kept_back, report.kept_back].concat(),
                ..report
            },
        })
    }

    /// The host before the transaction, also as the administrator's programs see it; `None` when a stop was asked
    /// for meanwhile.
    fn before(
        &self,
        selection: &Selection,
        failed: &[&Source],
        so_far: &AppliedSoFar,
    ) -> Result<Option<Baseline>> {
        let (ctx, transaction, jobs) = (self.ctx, self.transaction, self.jobs);
        if !so_far.changes.is_empty() {
            return Baseline::first_part(ctx, transaction, jobs, &so_far.changes).map(Some);
        }
        let planned: Vec<Change> = match selection {
            // only the package manager knows which changes that makes
            Selection::Everything => Vec::new(),
            Selection::Exactly(updates) => updates.iter().map(Change::from).collect(),
        };
        if *selection == Selection::Everything && plan::is_nothing_due(ctx, failed) {
            return Baseline::snapshot(ctx, transaction, None).map(Some);
        }
        let Some(hooks) = verify::baseline(ctx, jobs, &planned, false)? else {
            return Ok(None);
        };
        let is_second = jobs.iter().any(|job| job.progress().is_self_update());
        rollback::remember(ctx, transaction, is_second, || {
            Baseline::snapshot(ctx, transaction, Some(hooks)).map(Some)
        })
    }

    /// Runs the package manager, once what the gate compares its change list with is on the disk.
    fn run_package_manager(
        &mut self,
        selection: &Selection,
        failed: &[&Source],
    ) -> Result<TransactionReport> {
        let (ctx, transaction) = (self.ctx, self.transaction);
        remove_durably(&job::intent(&ctx.paths, transaction))?;
        rollback::forget(&ctx.paths, transaction)?;
        plan::expect(ctx, transaction, self.jobs, selection)?;
        if self.update.state.phase == Phase::Checking {
            self.update.step(PhaseEvent::Download)?;
        }
        // until it is judged: services that end with the host would look as if the update had broken them
        let held_off = hold_off::hold_off(ctx, &format!("job {transaction} updates packages"));
        self.held_off = Some(held_off.ensured()?);
        let program = gate::program(&ctx.paths)?;
        let arguments = gate::arguments(transaction);
        let log = job::log(&ctx.paths, transaction);
        let run = Transaction {
            selection,
            failed,
            log: &log,
            gate: (&program, &arguments),
        };
        let observer = &mut Monitor::apply(ctx, self.jobs, transaction, self.update);
        let report = ctx.packages.apply(&run, observer)?;
        let _ = std::fs::remove_file(expectation(&ctx.paths, transaction));
        Ok(report)
    }

    /// What the intent file and the package manager's own report together mean.
    fn judge(&mut self, ran: Ran<'_>) -> Result<Attempt> {
        let intent = Intent::load(&self.ctx.paths, self.transaction)
            .map_err(|why| anyhow::anyhow!("the change list cannot be read: {why}"))?;
        match (intent, &ran.report.ended) {
            (Some(Intent::Activated { changes, former }), _) => {
                self.activated(ran, Approved { changes, former })
            }
            (Some(Intent::Mixed), _) => Ok(Attempt::SelfPackageMixed),
            (Some(Intent::NoRoom { without }), _) => Ok(Attempt::NoRoom(without)),
            (Some(Intent::Stopped), _) | (None, TransactionEnd::Stopped) => {
                self.update.cancel();
                Ok(Attempt::cancelled())
            }
            (None, TransactionEnd::FetchFailed(why) | TransactionEnd::Interrupted(why)) => {
                Ok(Attempt::FetchFailed(why.clone()))
            }
            (
                Some(Intent::Refused {
                    reason,
                    again,
                    postponed,
                }),
                _,
            ) => match (again, postponed) {
                (true, _) => Ok(Attempt::FetchFailed(reason)),
                (false, true) => Err(errors::Postponed(reason).into()),
                (false, false) => bail!("refused: {reason}"),
            },
            (None, TransactionEnd::Failed(why)) => {
                // some package managers check the disk space before they ask the gate
                let without = plan::short(self.ctx, &ran.selection, ran.failed);
                ensure!(!without.is_empty(), "{why}");
                Ok(Attempt::NoRoom(without))
            }
            (None, TransactionEnd::Done) => {
                check_nothing_was_due(self.ctx, &ran.selection, ran.failed)?;
                let outcome = self.nothing_to_install(ran.report.kept_back)?;
                Ok(Attempt::ended(outcome, ran.self_package_follows))
            }
        }
    }

    /// The gate has let the package manager through, with these changes.
    fn activated(&mut self, ran: Ran<'_>, approved: Approved) -> Result<Attempt> {
        let (ctx, transaction) = (self.ctx, self.transaction);
        let follows = ran.self_package_follows;
        let changes = &approved.changes;
        if changes.is_empty() {
            // nothing was due, and the package manager has configured what was left half-configured
            shutdown::bail_if_shutting_down(ctx)?;
            repair::after(ctx, transaction, changes, &ran.report.ended)?;
            let outcome = self.nothing_to_install(ran.report.kept_back)?;
            return Ok(Attempt::ended(outcome, follows));
        }
        self.update.activated(transaction, changes)?;
        shutdown::bail_if_shutting_down(ctx)?;
        repair::after(ctx, transaction, changes, &ran.report.ended)?;
        progress::verifying(ctx, transaction);
        let approved = ran.so_far.with(approved);
        let mut outcome = conclude(
            ctx,
            transaction,
            &ran.before,
            approved,
            ran.report,
            self.update,
        )?;
        if let TransactionOutcome::Changed(concluded) = &mut outcome {
            concluded.removed = self.room.removed().to_vec();
        }
        Ok(Attempt::ended(outcome, follows))
    }

    /// There is nothing to install, which is a success unless a package that a job names is broken. If requeued
    /// jobs have applied something before, that is judged.
    fn nothing_to_install(&mut self, kept_back: Vec<KeptBack>) -> Result<TransactionOutcome> {
        let (ctx, jobs) = (self.ctx, self.jobs);
        let so_far = AppliedSoFar::of(jobs);
        if !so_far.changes.is_empty() {
            let part = AppliedPart {
                jobs,
                so_far,
                kept_back,
                unfinished: None,
            };
            return unfinished::judge(ctx, self.transaction, part, self.update);
        }
        if let Some(why) = selection::broken(jobs, &ctx.packages.installed()?) {
            bail!("{why}, and no update of it is pending");
        }
        let missed = jobs
            .iter()
            .filter_map(|job| job.request.packages.as_ref())
            .find_map(|target| job_result::unreached(target, &kept_back));
        match missed {
            None => self.update.step(PhaseEvent::NothingToDo)?,
            Some(why) => self.update.fail(&why),
        }
        Ok(TransactionOutcome::Nothing { kept_back })
    }
}

/// Checks a package manager that succeeded without asking the gate: an error if updates are still due, as when
/// its configuration makes it only download or simulate.
fn check_nothing_was_due(ctx: &Context, selection: &Selection, failed: &[&Source]) -> Result<()> {
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
        "{} ended without an error and changed nothing, and {due} of the updates are still due: check its configuration for settings that make it only download or simulate (such as APT::Get::Download-Only, \
         APT::Get::Simulate, tsflags=test)",
        ctx.packages.name()
    );
    Ok(())
}
