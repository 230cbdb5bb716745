//! The one observer of every run of a package manager. Its mode decides what is published, and whether the run may
//! be stopped.

use std::io::Write;

use crate::host::systemd;
use crate::package::{Observer, Report};
use crate::request::JobId;
use crate::state::job::Job;
use crate::state::progress;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::monitor::applying::Applying;
use crate::worker::monitor::progress::Publisher;
use crate::worker::monitor::stall::StallDetector;
use crate::{journal, queue};

/// Observes one run of a package manager.
pub struct Monitor<'a, 'u> {
    ctx: &'a Context,
    job: Option<&'a JobId>,
    // before the stall detector, so that its thread has ended when a stall is resolved
    mode: Mode<'a, 'u>,
    publisher: Option<Publisher<'a>>,
    stall: Option<StallDetector<'a>>,
}

enum Mode<'a, 'u> {
    /// A refresh, or a wait for another package manager: it publishes which process it waits for, and is stopped
    /// on request.
    Refresh {
        /// Whether it waits, or has waited until now.
        waits: bool,
    },
    /// A download before an update is requested: it is stopped on request, and for every request in the queue.
    DownloadAhead,
    /// A wait for what is changing packages: it is never stopped.
    Finish,
    /// A repair of the package database: it publishes only a stall, and is never stopped.
    Repair,
    /// A rollback: it is never stopped.
    Rollback,
    /// A transaction: it is stopped on request until the gate has let it through.
    Apply(Applying<'a, 'u>),
}

impl<'a, 'u> Monitor<'a, 'u> {
    /// For a refresh or a wait, of a job if there is one.
    pub fn refresh(ctx: &'a Context, job: Option<&'a JobId>) -> Self {
        let mut monitor = Self::silent(ctx, Mode::Refresh { waits: false });
        monitor.publisher = job.map(|job| Publisher::new(ctx, job));
        monitor.job = job;
        monitor
    }

    /// For a download before an update is requested.
    pub fn download_ahead(ctx: &'a Context) -> Self {
        Self::silent(ctx, Mode::DownloadAhead)
    }

    /// For a wait until the package manager has finished what it changes.
    pub fn finish(ctx: &'a Context) -> Self {
        Self::silent(ctx, Mode::Finish)
    }

    /// For a repair of what was interrupted.
    pub fn repair(ctx: &'a Context, job: &'a JobId) -> Self {
        Self::publishing(ctx, job, Mode::Repair, "repairing the package database")
    }

    /// For the installation of former versions.
    pub fn rollback(ctx: &'a Context, job: &'a JobId) -> Self {
        Self::publishing(ctx, job, Mode::Rollback, "rolling back")
    }

    /// For a transaction that serves these jobs.
    pub fn apply(
        ctx: &'a Context,
        jobs: &'a [Job],
        transaction: &'a JobId,
        update: &'a mut CurrentUpdate<'u>,
    ) -> Self {
        let mode = Mode::Apply(Applying::new(ctx, jobs, transaction, update));
        // from here on, readers of the progress know that the package database may be changing
        Self::publishing(ctx, transaction, mode, "preparing")
    }

    fn silent(ctx: &'a Context, mode: Mode<'a, 'u>) -> Self {
        Self {
            ctx,
            job: None,
            mode,
            publisher: None,
            stall: None,
        }
    }

    fn publishing(ctx: &'a Context, job: &'a JobId, mode: Mode<'a, 'u>, action: &str) -> Self {
        let mut publisher = Publisher::new(ctx, job);
        publisher.publish(0, action);
        Self {
            ctx,
            job: Some(job),
            mode,
            publisher: Some(publisher),
            stall: Some(StallDetector::new(ctx, job)),
        }
    }

    fn publish(&mut self, percent: u32, action: &str) {
        match &mut self.publisher {
            Some(publisher) => publisher.publish(percent, action),
            None => systemd::status(&journal::plain(action)),
        }
    }

    fn waiting(&mut self, what: &str) {
        match &mut self.mode {
            Mode::DownloadAhead | Mode::Repair => return,
            Mode::Finish => return journal::waiting(None, what),
            Mode::Refresh { waits } => *waits = true,
            Mode::Rollback | Mode::Apply(_) => {}
        }
        journal::waiting(self.job, what);
        self.publish(0, &format!("waiting: {what}"));
    }

    fn downloading(&mut self, percent: u32) {
        match &mut self.mode {
            Mode::Refresh { waits } => {
                if std::mem::take(waits) {
                    self.publish(0, "refreshing the package index");
                }
            }
            Mode::Rollback => self.publish(percent / 2, "rolling back"),
            Mode::Apply(_) => self.publish(percent / 2, "downloading"),
            Mode::DownloadAhead | Mode::Finish | Mode::Repair => {}
        }
    }

    fn installing(&mut self, percent: u32, action: &str) {
        let percent = 50 + percent / 2;
        match &mut self.mode {
            Mode::Rollback => self.publish(percent, &format!("rolling back: {action}")),
            Mode::Apply(applying) => {
                applying.note_activation();
                self.publish(percent, action);
            }
            Mode::Refresh { .. } | Mode::DownloadAhead | Mode::Finish | Mode::Repair => {}
        }
    }

    /// Shows a line of output to the administrator who waits at a terminal.
    fn show(&self, line: &str) {
        if self.ctx.terminal && matches!(self.mode, Mode::Rollback | Mode::Apply(_)) {
            // the terminal may be closed by now
            let _ = writeln!(std::io::stderr(), "{}", journal::plain(line));
        }
    }

    /// Names what hangs, once for each silence that is too long. Before packages change, the package manager has
    /// time limits of its own and may be stopped.
    fn check_silence(&mut self) {
        let Some(stall) = self.stall.as_mut().filter(|stall| stall.is_exhausted()) else {
            return;
        };
        let is_changing = match &mut self.mode {
            Mode::Apply(applying) => {
                applying.note_activation();
                applying.is_activated()
            }
            _ => true,
        };
        if is_changing {
            let text = stall.report_stall();
            self.publish(0, &text);
        } else {
            stall.activity(None);
        }
    }
}

impl Observer for Monitor<'_, '_> {
    fn report(&mut self, report: Report) {
        if let Some(stall) = &mut self.stall {
            stall.activity(report.action());
        }
        match report {
            Report::Output(line) => self.show(&line),
            Report::Waiting(what) => self.waiting(&what),
            Report::Downloading { percent } => self.downloading(percent),
            Report::Installing { percent, action } => self.installing(percent, &action),
        }
    }

    fn stop(&mut self) -> bool {
        self.check_silence();
        if let Some(publisher) = &mut self.publisher {
            publisher.flush();
        }
        match &mut self.mode {
            Mode::Refresh { .. } => self.ctx.stopping(),
            Mode::DownloadAhead => self.ctx.stopping() || queue::length(&self.ctx.paths) > 0,
            Mode::Finish | Mode::Repair | Mode::Rollback => false,
            Mode::Apply(applying) => applying.stop(),
        }
    }
}

impl Drop for Monitor<'_, '_> {
    fn drop(&mut self) {
        let published = self
            .publisher
            .as_ref()
            .is_some_and(Publisher::has_published);
        // what follows a refresh publishes words of its own, or has none
        if published && matches!(self.mode, Mode::Refresh { .. }) {
            progress::forget(&self.ctx.paths);
        }
    }
}
