//! The latest update of the host, written down at every step of its life.

use anyhow::Result;

use crate::host::clock;
use crate::journal;
use crate::package::Change;
use crate::request::JobId;
use crate::state::update::{Phase, UpdateState};
use crate::worker::bookkeeping::context::Context;
use crate::worker::model::lifecycle::{self, IllegalStep, PhaseEvent};

/// An update in progress.
pub struct CurrentUpdate<'a> {
    ctx: &'a Context,
    pub state: UpdateState,
    /// The update before this one: its end is the host's again when this one is cancelled.
    former: UpdateState,
}

impl<'a> CurrentUpdate<'a> {
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
        update.resumed(changes);
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

    /// The gate let these changes through before, whatever phase was written down. This is not written down: the
    /// next step is.
    pub fn resumed(&mut self, changes: &[Change]) {
        if let Err(error) = self.take(PhaseEvent::Resume) {
            tracing::error!("{error}");
        }
        self.state.set_versions(changes);
    }

    fn take(&mut self, event: PhaseEvent) -> Result<(), IllegalStep> {
        self.state.phase = lifecycle::next(self.state.phase, event)?;
        Ok(())
    }

    /// Takes a step and writes it down.
    pub fn step(&mut self, event: PhaseEvent) -> Result<()> {
        self.take(event)?;
        self.state.updated_at = Some(clock::now());
        if self.state.phase == Phase::Success {
            self.state.last_success_at = self.state.updated_at;
        }
        self.state.save(&self.ctx.paths)
    }

    /// The same where nothing depends on its being written down: an error is only logged.
    fn step_or_log(&mut self, event: PhaseEvent) {
        if let Err(error) = self.step(event) {
            tracing::error!("{error:#}");
        }
    }

    /// The package manager has ended, and the host is judged.
    pub fn verify(&mut self) {
        self.step_or_log(PhaseEvent::Verify);
    }

    /// Ends the update as successful.
    pub fn succeed(&mut self) {
        self.step_or_log(PhaseEvent::Succeed);
    }

    /// Ends the update as failed, whatever else goes wrong.
    pub fn fail(&mut self, why: &str) {
        self.state.last_error = Some(journal::plain(why));
        self.step_or_log(PhaseEvent::Fail);
    }

    /// Ends the update as one after which the host is as it was before.
    pub fn rolled_back(&mut self, why: &str) {
        self.state.last_error = Some(journal::plain(why));
        self.step_or_log(PhaseEvent::RollBack);
    }

    /// Ends the update as if it had never begun: the update before it is the host's latest again.
    pub fn cancel(&mut self) {
        self.step_or_log(PhaseEvent::Cancel);
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
            self.step(PhaseEvent::Stage)?;
        }
        self.step(PhaseEvent::Activate)?;
        journal::activation(transaction, changes.len());
        Ok(())
    }
}

/// A new update, which has begun.
pub fn begin<'a>(ctx: &'a Context, target: &str) -> CurrentUpdate<'a> {
    let mut update = CurrentUpdate::begin(ctx, target);
    update.step_or_log(PhaseEvent::Begin);
    update
}
