//! The only room that changes the host: takes the lock, drains the queue, writes the records.

mod apply;
pub mod gate;
pub mod lifecycle;
mod progress;
mod recover;
mod refresh;
mod select;
mod settle;
mod update;
mod verify;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::config::Config;
use crate::fs::Lock;
use crate::host::{clock, systemd};
use crate::package::{self, PackageManager, Unusable};
use crate::paths::Paths;
use crate::request::{JobId, Kind, Request, Requester, Target};
use crate::state::job::{Job, JobStatus};
use crate::{journal, queue};

/// How often a held lock is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// How long a drain that could not even claim its requests waits before it ends. The path unit
/// starts it again at once, so that this is what keeps a full disk from being a busy loop.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// A worker, with everything it needs.
pub struct Worker {
    paths: Paths,
    config: Config,
    packages: Box<dyn PackageManager>,
    stop: Arc<AtomicBool>,
    /// Whether the package manager's output is shown on standard error, besides being kept in its log.
    terminal: bool,
}

impl Worker {
    /// A worker for this host. `stop` is set by whoever wants it to end; it does so as soon as that
    /// is safe. With an invalid configuration it serves all the same, and fails every job with that.
    #[must_use]
    pub fn new(paths: Paths, stop: Arc<AtomicBool>) -> Self {
        let config = Config::load(&paths).context("the configuration is invalid");
        let usable = config.and_then(|config| {
            let packages = package::detect(&config, &paths.run())?;
            Ok((config, packages))
        });
        let (config, packages) = usable.unwrap_or_else(|error| {
            let none: Box<dyn PackageManager> = Box::new(Unusable(format!("{error:#}")));
            (Config::default(), none)
        });
        Self {
            paths,
            config,
            packages,
            stop,
            terminal: false,
        }
    }

    /// The worker, showing what the package manager prints on standard error.
    #[must_use]
    pub fn on_terminal(self) -> Self {
        Self {
            terminal: true,
            ..self
        }
    }

    /// Refreshes the index now, and starts units of ours again that have failed.
    pub fn refresh(&self) -> Result<()> {
        let lock = self.lock("refresh")?;
        let result = refresh::run(self).and_then(|()| refresh::list_pending(self));
        drop(lock);
        match systemd::heal_units() {
            Ok(units) if !units.is_empty() => journal::units_healed(&units),
            Ok(_) => {}
            Err(error) => tracing::debug!("units were not looked at: {error:#}"),
        }
        systemd::wake_door();
        result
    }

    /// Queues a request for `target` and serves the queue until that one is done; its record.
    pub fn apply(&self, target: Target, requester: Requester) -> Result<Job> {
        queue::prepare(&self.paths)?;
        let request = Request::apply(target, requester)?;
        let id = request.id.clone();
        queue::submit(&self.paths, &request)?;
        let result = self.serve_until(&id);
        systemd::wake_door();
        result
    }

    /// Serves the queue until it is empty; the number of jobs that failed.
    pub fn drain(&self) -> Result<usize> {
        let result = self.serve_all();
        if let Err(error) = &result {
            let text = format!("{error:#}; trying again in {} s", FAILURE_PAUSE.as_secs());
            systemd::status(&text);
            let mut left = FAILURE_PAUSE;
            while !self.stopping() && !left.is_zero() {
                thread::sleep(LOCK_INTERVAL);
                left = left.saturating_sub(LOCK_INTERVAL);
            }
        }
        systemd::wake_door();
        result
    }

    fn serve_until(&self, id: &JobId) -> Result<Job> {
        loop {
            let lock = self.lock(&format!("job {id}"))?;
            recover::run(self)?;
            let jobs = self.claim()?;
            if !jobs.is_empty() {
                self.serve(jobs)?;
            }
            drop(lock);
            if let Some(job) = Job::load(&self.paths, id)?.filter(|job| job.status.is_final()) {
                return Ok(job);
            }
        }
    }

    fn serve_all(&self) -> Result<usize> {
        let mut failed = 0;
        while !self.stopping() {
            let _lock = self.lock("the queue")?;
            recover::run(self)?;
            let jobs = self.claim()?;
            if jobs.is_empty() {
                break;
            }
            failed += self.serve(jobs)?;
        }
        Ok(failed)
    }

    /// Takes the waiting requests; whatever happens from here on, they are found again.
    fn claim(&self) -> Result<Vec<Job>> {
        queue::claim(&self.paths, |jobs| recover::remember(self, jobs))
    }

    /// Serves claimed jobs: one refresh for all, then the applies; the number that failed.
    fn serve(&self, mut jobs: Vec<Job>) -> Result<usize> {
        for job in &mut jobs {
            job.status = JobStatus::Running;
            job.started_at = Some(clock::now());
            job.save(&self.paths)?;
            let (kind, target) = (job.request.kind.to_string(), job.request.packages.as_ref());
            journal::job_started(job.id(), &kind, target, &job.request.requester);
        }
        // the door tells its listeners; nothing here waits for it
        thread::spawn(systemd::wake_door);
        let (applies, mut refreshes): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.request.kind == Kind::Apply);
        let mut done = if applies.is_empty() {
            let refreshed = refresh::run(self).and_then(|()| refresh::list_pending(self));
            refreshes
                .iter_mut()
                .for_each(|job| finish_refresh(self, job, &refreshed));
            Vec::new()
        } else {
            let (done, refreshed) = apply::run(self, applies);
            refreshes
                .iter_mut()
                .for_each(|job| finish_refresh(self, job, &refreshed));
            done
        };
        done.append(&mut refreshes);
        self.record(&mut done)?;
        recover::forget(self)?;
        Ok(done
            .iter()
            .filter(|job| job.status == JobStatus::Failed)
            .count())
    }

    /// Writes the records of ended jobs and says so in the journal.
    fn record(&self, jobs: &mut [Job]) -> Result<()> {
        for job in jobs {
            job.finished_at = Some(clock::now());
            job.save(&self.paths)?;
            for kept in &job.kept_back {
                journal::package_kept_back(job.id(), &kept.package, &kept.reason);
            }
            for note in &job.notes {
                journal::job_note(job.id(), note);
            }
            match job.status {
                JobStatus::Succeeded => journal::job_succeeded(job.id(), &job.summary()),
                JobStatus::Cancelled => journal::job_cancelled(job.id()),
                _ => journal::job_failed(job.id(), job.error.as_deref().unwrap_or("unknown")),
            }
        }
        Ok(())
    }

    /// Waits for the one lock of all workers.
    fn lock(&self, what: &str) -> Result<Lock> {
        queue::prepare(&self.paths)?;
        let mut told = false;
        loop {
            if let Some(lock) = Lock::try_take(&self.paths.worker_lock())? {
                return Ok(lock);
            }
            if !told {
                systemd::status(&format!("{what} waits for another worker"));
                told = true;
            }
            if self.stopping() {
                bail!("stopped while waiting for another worker; the request stays in the queue");
            }
            thread::sleep(LOCK_INTERVAL);
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn finish_refresh(worker: &Worker, job: &mut Job, refreshed: &Result<()>) {
    match refreshed {
        Ok(()) => job.status = JobStatus::Succeeded,
        Err(error) => settle::not_begun(worker, job, error),
    }
}
