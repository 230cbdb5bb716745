//! How far a running refresh or transaction is: to the service manager, to listeners, to a stop.

use std::io::Write;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crate::fs::write_unsynced;
use crate::host::systemd;
use crate::package::{Observer, Report};
use crate::queue::Decision;
use crate::request::JobId;
use crate::state::job::{self, Job};
use crate::state::progress::{self, Progress};
use crate::state::update::Phase;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::intent::Intent;
use crate::worker::bookkeeping::package_store;
use crate::worker::bookkeeping::phase::Update;
use crate::worker::monitor::stall::StallDetector;
use crate::{journal, state};

/// The least time between two writes of the same kind of progress.
const INTERVAL: Duration = Duration::from_millis(100);

/// More than the steps in which the kernel counts the times of files: 10 ms at most.
const TICK: Duration = Duration::from_millis(20);

/// Observes a refresh, or a wait for a package manager: all there is to report is which process holds it up.
pub struct RefreshObserver<'a> {
    ctx: &'a Context,
    /// Where that is published: of the job that it is done for.
    publisher: Option<Publisher<'a>>,
    /// Whether it has waited.
    waited: bool,
}

impl<'a> RefreshObserver<'a> {
    /// For a job, where there is one.
    pub fn new(ctx: &'a Context, job: Option<&'a JobId>) -> Self {
        Self {
            ctx,
            publisher: job.map(|job| Publisher::new(ctx, job)),
            waited: false,
        }
    }

    fn say(&mut self, action: &str) {
        match &mut self.publisher {
            Some(publisher) => publisher.publish(0, action),
            None => systemd::status(&journal::plain(action)),
        }
    }
}

impl Observer for RefreshObserver<'_> {
    fn report(&mut self, report: Report) {
        match report {
            Report::Waiting(what) => {
                self.waited = true;
                journal::waiting(self.publisher.as_ref().map(|p| p.job), &what);
                self.say(&format!("waiting: {what}"));
            }
            Report::Downloading { .. } if self.waited => {
                self.waited = false;
                self.say("refreshing the package index");
            }
            _ => {}
        }
    }

    fn stop(&mut self) -> bool {
        if let Some(publisher) = &mut self.publisher {
            publisher.flush();
        }
        self.ctx.stopping()
    }
}

impl Drop for RefreshObserver<'_> {
    fn drop(&mut self) {
        // what comes next publishes something of its own, or has no words
        if self
            .publisher
            .as_ref()
            .is_some_and(Publisher::has_published)
        {
            progress::forget(&self.ctx.paths);
        }
    }
}

/// Publishes the progress of a transaction.
struct Publisher<'a> {
    ctx: &'a Context,
    job: &'a JobId,
    last: Option<Instant>,
    /// What came too soon after something else, and is still true.
    held: Option<(u32, String)>,
    /// How far the transaction was at most. It may start anew; whoever waits sees no step back.
    reached: u32,
}

impl<'a> Publisher<'a> {
    fn new(ctx: &'a Context, job: &'a JobId) -> Self {
        let known: Option<Progress> = state::try_read(&ctx.paths.progress()).unwrap_or(None);
        Self {
            ctx,
            job,
            last: None,
            held: None,
            reached: known.filter(|p| p.job == *job).map_or(0, |p| p.percent),
        }
    }

    /// Says what is done now; in a moment, when something was said just before.
    fn publish(&mut self, percent: u32, action: &str) {
        self.reached = self.reached.max(percent);
        self.held = Some((self.reached, journal::plain(action)));
        self.flush();
    }

    fn has_published(&self) -> bool {
        self.last.is_some()
    }

    /// Says what could not be said before.
    fn flush(&mut self) {
        if self.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            return;
        }
        let Some((percent, action)) = self.held.take() else {
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

/// Says that the package manager is done, and that its work is looked at.
pub fn verifying(ctx: &Context, job: &JobId) {
    Publisher::new(ctx, job).publish(0, "verifying");
}

/// Follows the putting back of former versions, which is never stopped on the way.
pub struct RollbackObserver<'a> {
    ctx: &'a Context,
    job: &'a JobId,
    publisher: Publisher<'a>,
    stall: StallDetector<'a>,
}

impl<'a> RollbackObserver<'a> {
    pub fn new(ctx: &'a Context, job: &'a JobId) -> Self {
        let mut publisher = Publisher::new(ctx, job);
        publisher.publish(0, "rolling back");
        Self {
            ctx,
            job,
            publisher,
            stall: StallDetector::new(ctx, job),
        }
    }
}

impl Observer for RollbackObserver<'_> {
    fn report(&mut self, report: Report) {
        self.stall.activity(report.action());
        match report {
            Report::Output(line) if self.ctx.terminal => {
                let _ = writeln!(std::io::stderr(), "{}", journal::plain(&line));
            }
            Report::Output(_) => {}
            Report::Waiting(what) => {
                journal::waiting(Some(self.job), &what);
                self.publisher.publish(0, &format!("waiting: {what}"));
            }
            Report::Downloading { percent } => self.publisher.publish(percent / 2, "rolling back"),
            Report::Installing { percent, action } => {
                let action = format!("rolling back: {action}");
                self.publisher.publish(50 + percent / 2, &action);
            }
        }
    }

    fn stop(&mut self) -> bool {
        if self.stall.is_exhausted() {
            self.publisher.publish(0, &self.stall.report_stall());
        }
        self.publisher.flush();
        false
    }
}

/// Follows the repair of what was interrupted, which is never stopped on the way.
pub struct RepairObserver<'a> {
    publisher: Publisher<'a>,
    stall: StallDetector<'a>,
}

impl<'a> RepairObserver<'a> {
    pub fn new(ctx: &'a Context, job: &'a JobId) -> Self {
        let mut publisher = Publisher::new(ctx, job);
        publisher.publish(0, "repairing the package database");
        Self {
            publisher,
            stall: StallDetector::new(ctx, job),
        }
    }
}

impl Observer for RepairObserver<'_> {
    fn report(&mut self, report: Report) {
        self.stall.activity(report.action());
    }

    fn stop(&mut self) -> bool {
        if self.stall.is_exhausted() {
            self.publisher.publish(0, &self.stall.report_stall());
        }
        self.publisher.flush();
        false
    }
}

/// Follows a running transaction.
pub struct ApplyObserver<'a, 'b> {
    ctx: &'a Context,
    jobs: &'a [Job],
    queue_seen: Option<SystemTime>,
    transaction: &'a JobId,
    update: &'a mut Update<'b>,
    publisher: Publisher<'a>,
    stall: StallDetector<'a>,
    /// Who takes the sums of what the update brings, while the package manager works.
    keeper: Option<JoinHandle<()>>,
}

impl<'a, 'b> ApplyObserver<'a, 'b> {
    pub fn new(
        ctx: &'a Context,
        jobs: &'a [Job],
        transaction: &'a JobId,
        update: &'a mut Update<'b>,
    ) -> Self {
        let mut publisher = Publisher::new(ctx, transaction);
        // whoever reads it knows from here on that the package database may be in between
        publisher.publish(0, "preparing");
        Self {
            ctx,
            jobs,
            queue_seen: None,
            transaction,
            update,
            publisher,
            stall: StallDetector::new(ctx, transaction),
            keeper: None,
        }
    }
}

impl Observer for ApplyObserver<'_, '_> {
    fn report(&mut self, report: Report) {
        self.stall.activity(report.action());
        match report {
            Report::Output(line) if self.ctx.terminal => {
                // nobody may be there to read it any more
                let _ = writeln!(std::io::stderr(), "{}", journal::plain(&line));
            }
            Report::Output(_) => {}
            Report::Waiting(what) => {
                journal::waiting(Some(self.transaction), &what);
                self.publisher.publish(0, &format!("waiting: {what}"));
            }
            Report::Downloading { percent } => {
                self.publisher.publish(percent / 2, "downloading");
            }
            Report::Installing { percent, action } => {
                self.note_activation();
                self.publisher.publish(50 + percent / 2, &action);
            }
        }
    }

    /// A stop is followed only when the worker gets to the intent file before the gate does.
    fn stop(&mut self) -> bool {
        if self.stall.is_exhausted() {
            self.note_activation();
            self.report_silence();
        }
        self.publisher.flush();
        (self.ctx.stopping() || self.is_cancelled())
            && Intent::Stopped.create(&self.intent_file()).unwrap_or(false)
    }
}

impl ApplyObserver<'_, '_> {
    /// Before packages change the package manager has limits of its own, and may be stopped.
    fn report_silence(&mut self) {
        if self.update.state.phase == Phase::Activated {
            self.publisher.publish(0, &self.stall.report_stall());
        } else {
            self.stall.activity(None);
        }
    }

    /// Whether one of the jobs was cancelled; looked for only when something came into the queue.
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

    fn note_activation(&mut self) {
        if self.keeper.is_some() || self.update.state.phase == Phase::Activated {
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
}

impl Drop for ApplyObserver<'_, '_> {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            // what it has not done is done when the transaction is judged
            let _ = keeper.join();
        }
    }
}
