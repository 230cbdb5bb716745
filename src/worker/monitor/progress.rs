//! The progress of a job: to the service manager, and to the file that the front ends watch.

use std::time::{Duration, Instant};

use crate::fs::write_unsynced;
use crate::host::systemd;
use crate::journal;
use crate::request::JobId;
use crate::state::progress::{self, Progress};
use crate::worker::bookkeeping::context::Context;

/// The least time between two publications.
const INTERVAL: Duration = Duration::from_millis(100);

/// Publishes the progress of a transaction.
pub struct Publisher<'a> {
    ctx: &'a Context,
    job: &'a JobId,
    last: Option<Instant>,
    /// Percentage and words that wait for the interval to pass.
    pending: Option<(u32, String)>,
    /// The highest percentage so far. A transaction may be repeated, and its percentage does not go back.
    reached: u32,
}

impl<'a> Publisher<'a> {
    pub fn new(ctx: &'a Context, job: &'a JobId) -> Self {
        let known = progress::load(&ctx.paths);
        Self {
            ctx,
            job,
            last: None,
            pending: None,
            reached: known.filter(|p| p.job == *job).map_or(0, |p| p.percent),
        }
    }

    /// Publishes what is done now; within 100 ms of the last publication the words wait for `flush`. The percentage
    /// never goes down.
    pub fn publish(&mut self, percent: u32, action: &str) {
        self.reached = self.reached.max(percent);
        self.pending = Some((self.reached, journal::plain(action)));
        self.flush();
    }

    /// Whether anything was published.
    pub fn has_published(&self) -> bool {
        self.last.is_some()
    }

    /// Publishes what has waited long enough.
    pub fn flush(&mut self) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        let Some((percent, action)) = self.pending.take() else {
            return;
        };
        self.last = Some(Instant::now());
        systemd::status(&format!("{percent} %: {action}"));
        let progress = Progress {
            job: self.job.clone(),
            percent,
            action,
        };
        let path = self.ctx.paths.progress();
        if let Ok(bytes) = serde_json::to_vec(&progress) {
            let _ = write_unsynced(&path, &bytes);
        }
    }
}

/// Publishes that the package manager is done and its work is verified.
pub fn verifying(ctx: &Context, job: &JobId) {
    Publisher::new(ctx, job).publish(0, "verifying");
}
