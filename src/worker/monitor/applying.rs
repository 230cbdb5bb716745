//! A transaction in progress: whether it may still be stopped, and what follows when the gate lets it through.

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crate::queue::Decision;
use crate::request::JobId;
use crate::state::job::{self, Job};
use crate::state::update::Phase;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::intent::Intent;
use crate::worker::bookkeeping::package_store;
use crate::worker::bookkeeping::phase::CurrentUpdate;

/// Longer than the steps in which the kernel counts the times of files: 10 ms at most.
const TICK: Duration = Duration::from_millis(20);

/// A transaction that serves jobs, while the package manager runs.
pub struct Applying<'a, 'u> {
    ctx: &'a Context,
    jobs: &'a [Job],
    transaction: &'a JobId,
    update: &'a mut CurrentUpdate<'u>,
    /// When the queue had last changed at the last check for a cancellation.
    queue_seen: Option<SystemTime>,
    /// The thread that takes the checksums of the new packages while the package manager works.
    keeper: Option<JoinHandle<()>>,
}

impl<'a, 'u> Applying<'a, 'u> {
    pub fn new(
        ctx: &'a Context,
        jobs: &'a [Job],
        transaction: &'a JobId,
        update: &'a mut CurrentUpdate<'u>,
    ) -> Self {
        Self {
            ctx,
            jobs,
            transaction,
            update,
            queue_seen: None,
            keeper: None,
        }
    }

    /// Whether packages change, as far as it was noted.
    pub fn is_activated(&self) -> bool {
        self.update.state.phase == Phase::Activated
    }

    /// Notes once that the gate has let the package manager through.
    pub fn note_activation(&mut self) {
        if self.keeper.is_some() || self.is_activated() {
            return;
        }
        if let Ok(Some(Intent::Activated { changes, .. })) =
            Intent::load(&self.ctx.paths, self.transaction)
            && !changes.is_empty()
        {
            if let Err(error) = self.update.activated(self.transaction, &changes) {
                tracing::error!("{error:#}");
            }
            let paths = self.ctx.paths.clone();
            self.keeper = Some(thread::spawn(move || package_store::keep(&paths, &changes)));
        }
    }

    /// Whether the package manager is to be stopped: on request, and only if the worker creates the intent file
    /// before the gate does.
    pub fn stop(&mut self) -> bool {
        (self.ctx.stopping() || self.is_cancelled())
            && Intent::Stopped.create(&self.intent_file()).unwrap_or(false)
    }

    /// Whether one of the jobs was cancelled; checked only after the queue has changed.
    fn is_cancelled(&mut self) -> bool {
        let paths = &self.ctx.paths;
        let changed = std::fs::metadata(paths.queue())
            .and_then(|m| m.modified())
            .ok();
        if changed == self.queue_seen {
            return false;
        }
        // within one tick of its clock, the file system may give another change the same time
        let is_over = |time: &SystemTime| time.elapsed().is_ok_and(|age| age > TICK);
        self.queue_seen = changed.filter(is_over);
        self.jobs
            .iter()
            .any(|job| Decision::Cancel.is_left(paths, job.id()))
    }

    fn intent_file(&self) -> PathBuf {
        job::intent(&self.ctx.paths, self.transaction)
    }
}

impl Drop for Applying<'_, '_> {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            // what it has not done is done when the transaction is judged
            let _ = keeper.join();
        }
    }
}
