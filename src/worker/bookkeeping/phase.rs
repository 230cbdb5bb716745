//! The latest update of the host, written down at every step of its life.

use anyhow::Result;

use crate::host::clock;
use crate::journal;
use crate::package::Change;
use crate::request::JobId;
use crate::state::update::{Phase, UpdateState};
use crate::worker::bookkeeping::context::Context;
use crate::worker::model::lifecycle::{self, Event};

/// An update in progress.
pub struct Update<'a> {
    ctx: &'a Context,
    pub state: UpdateState,
    /// The update before this one: its end is the host's again when this one is cancelled.
    former: UpdateState,
}

impl<'a> Update<'a> {
    /// A new update of `target`.
    pub fn begin(ctx: &'a Context, target: &str) -> Self {
        let former = UpdateState::load_to_change(&ctx.paths);
        let state = former.begin(target, clock::now());
        Self { ctx, state, former }
    }

    /// The update that another worker began and did not end. The change list on the disk proves how
    /// far it came, whatever was written down of it.
    pub fn resume(ctx: &'a Context, changes: &[Change]) -> Self {
        let mut update = Self::latest(ctx);
        update.was_activated(changes);
        update
    }

    /// The update that was written down last, as it stands.
    pub fn latest(ctx: &'a Context) -> Self {
        let state = UpdateState::load_to_change(&ctx.paths);
        Self {
            ctx,
            former: state.clone(),
            state,
        }
    }

    /// These changes were let through before, whatever was written down of it.
    pub fn was_activated(&mut self, changes: &[Change]) {
        self.state.phase = Phase::Activated;
        self.state.set_versions(changes);
    }

    /// Takes a step and writes it down.
    pub fn step(&mut self, event: Event) -> Result<()> {
        self.state.phase = lifecycle::next(self.state.phase, event)?;
        self.state.updated_at = Some(clock::now());
        if self.state.phase == Phase::Success {
            self.state.last_success_at = self.state.updated_at;
        }
        self.state.save(&self.ctx.paths)
    }

    /// Ends the update as failed, whatever else goes wrong.
    pub fn fail(&mut self, why: &str) {
        self.state.last_error = Some(journal::plain(why));
        if let Err(error) = self.step(Event::Fail) {
            tracing::error!("{error:#}");
        }
    }

    /// Ends the update as one after which the host is as it was before.
    pub fn roll_back(&mut self, why: &str) {
        self.state.last_error = Some(journal::plain(why));
        if let Err(error) = self.step(Event::RollBack) {
            tracing::error!("{error:#}");
        }
    }

    /// Ends the update as if it had never been begun: what the host said of itself before is true again.
    pub fn cancel(&mut self) {
        if let Err(error) = self.step(Event::Cancel) {
            tracing::error!("{error:#}");
        }
        if self.former.phase.is_final()
            && let Err(error) = self.former.save(&self.ctx.paths)
        {
            tracing::error!("{error:#}");
        }
    }

    /// The package manager was let through: catches up with what the gate has done.
    pub fn activated(&mut self, transaction: &JobId, changes: &[Change]) -> Result<()> {
        if self.state.phase == Phase::Activated {
            return Ok(());
        }
        self.state.set_versions(changes);
        // it may have been taken before, and not been written down
        if self.state.phase != Phase::Staged {
            self.step(Event::Stage)?;
        }
        self.step(Event::Activate)?;
        journal::activation(transaction, changes.len());
        Ok(())
    }
}

/// A new update, which has begun.
pub fn begin<'a>(ctx: &'a Context, target: &str) -> Update<'a> {
    let mut update = Update::begin(ctx, target);
    if let Err(error) = update.step(Event::Begin) {
        tracing::error!("{error:#}");
    }
    update
}
