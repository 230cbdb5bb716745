//! The only room that changes the host: takes the lock, drains the queue, writes the records.

mod alert;
mod apply;
mod aside;
mod attempt;
mod block;
mod conclude;
mod deaths;
mod files;
#[cfg(test)]
mod frozen;
pub mod gate;
mod heal;
pub mod hook;
pub mod lifecycle;
mod manual;
mod mounts;
mod orphans;
mod own;
mod parts;
mod plan;
mod planner;
mod precondition;
mod progress;
mod reboot;
mod recover;
mod reexec;
mod refresh;
mod retention;
pub mod rollback;
mod sandbox;
mod select;
mod services;
mod settle;
mod space;
mod stage;
mod stuck;
mod unit;
mod update;
mod verify;

pub use planner::answer as answer_inquiries;
pub use refresh::RefreshFailed;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::config::Config;
use crate::fs::Lock;
use crate::host::{clock, door, systemd};
use crate::package::{self, PackageManager, Unusable};
use crate::paths::Paths;
use crate::queue::{Mark, Order};
use crate::request::{JobId, Kind, Options, Request, Requester, Target};
use crate::state::alert::Cause;
use crate::state::at_work;
use crate::state::cache::Cache;
use crate::state::installed::Names;
use crate::state::job::{Job, JobStatus};
use crate::state::kept_back::Told;
use crate::{journal, queue};

/// How soon whoever waits follows a stop.
const STOP_INTERVAL: Duration = Duration::from_millis(250);

/// Why a request was not served.
const STOPPED: &str = "stopped while waiting for another worker; the request stays in the queue";

/// For how long a drain that could not even claim its requests tries again before it fails. The path unit
/// starts it anew at once, so that this is what keeps a full disk from being a busy loop.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);

/// How often it tries.
const FAILURE_INTERVAL: Duration = Duration::from_secs(2);

/// What wakes the host while jobs are deferred or a reboot waits, and at no other time.
const RETRY_TIMER: &str = "patch-retry.timer";

/// Serves the queue, and does what follows.
const WORKER: &str = "patch-apply.service";

/// A worker, with everything it needs.
pub struct Worker {
    paths: Paths,
    config: Config,
    packages: Box<dyn PackageManager>,
    stop: Arc<AtomicBool>,
    /// What hung meanwhile.
    hangs: stuck::Seen,
    /// Whether what it found of others is counted as their death.
    deaths: deaths::Counted,
    /// Whether it has looked for jobs that no worker has.
    orphans: orphans::Looked,
    /// Whether the package manager's output is shown on standard error, besides being kept in its log.
    terminal: bool,
}

impl Worker {
    /// A worker for this host. `stop` is set by whoever wants it to end; it does so as soon as that
    /// is safe. With an invalid configuration it serves all the same, and fails every job with that.
    #[must_use]
    pub fn new(paths: Paths, stop: Arc<AtomicBool>) -> Self {
        let scratch = paths.run();
        Self::with_scratch(paths, stop, &scratch)
    }

    /// The same, with another directory for the package manager's temporary files.
    fn with_scratch(paths: Paths, stop: Arc<AtomicBool>, scratch: &Path) -> Self {
        let config = Config::load(&paths).context("the configuration is invalid");
        let usable = config.and_then(|config| {
            let packages = package::detect(&config, scratch)?;
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
            hangs: stuck::Seen::default(),
            deaths: deaths::Counted::default(),
            orphans: orphans::Looked::default(),
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
        let left = sandbox::is_in_the_way(self).then(|| sandbox::leave_to_worker(self));
        let lock = self.lock("refresh")?;
        let refresh = || refresh::run(self).and_then(|()| refresh::list_pending(self));
        let result = left.unwrap_or_else(refresh);
        if result.is_ok()
            && self.config.stage
            && let Err(error) = stage::run(self)
        {
            // it is done by the update, then
            tracing::warn!("what is pending could not be downloaded ahead: {error:#}");
        }
        alert::look(self);
        if let Err(error) = retention::run(self) {
            tracing::warn!("old records of jobs are not thrown away: {error:#}");
        }
        drop(lock);
        self.finish();
        // a worker may have had to leave that to another one, and nobody has asked for one since
        recover::ask_for_another(&self.paths);
        self.heal_units();
        // the sandbox of a refresh keeps it from that
        if !queue::owners::are_right(&self.paths) {
            let _ = systemd::start_unit_soon(WORKER.to_owned());
        }
        systemd::wake_door();
        result
    }

    /// Starts units of ours again without which nothing would wake us.
    fn heal_units(&self) {
        match systemd::heal_units(&self.paths) {
            Ok(units) if !units.is_empty() => journal::units_healed(&units),
            Ok(_) => {}
            Err(error) => tracing::debug!("units were not looked at: {error:#}"),
        }
    }

    /// Queues a request for `target` and serves the queue until that one is done; its record. The error is
    /// [`NotInstalled`](crate::state::installed::NotInstalled) when it names a package that is not installed: then there is no job.
    pub fn apply(&self, target: Target, requester: Requester) -> Result<Job> {
        if matches!(target, Target::Packages(_))
            && let Ok(database) = self.packages.installed()
        {
            Names::of(&database).judge(&target)?;
        }
        queue::prepare(&self.paths)?;
        let request = Request::apply(target, Options::default(), requester)?;
        // before the path unit starts its worker for it: while nobody else is at work, the unit that was asked
        // for is the one that serves it, shows how far it is, and hears a signal
        let lock = Lock::try_take(&self.paths.worker_lock()).ok().flatten();
        let id = queue::submit(&self.paths, &request)?;
        let result = self.serve_until(&id, lock);
        self.tell_failure(&result);
        self.finish();
        systemd::wake_door();
        result
    }

    /// Serves the queue until it is empty; the number of jobs that failed.
    pub fn drain(&self) -> Result<usize> {
        let mut left = FAILURE_PAUSE;
        let result = loop {
            match self.serve_all() {
                // what waits goes on waiting, and is served at the next boot
                Err(_) if self.stopping() => break Ok(0),
                Err(error) if !left.is_zero() => {
                    // the disk may have room again at any moment: whoever made it need not wait
                    systemd::status(&format!("{error:#}; trying again"));
                    thread::sleep(FAILURE_INTERVAL);
                    left = left.saturating_sub(FAILURE_INTERVAL);
                }
                other => break other,
            }
        };
        self.tell_failure(&result);
        self.finish();
        systemd::wake_door();
        result
    }

    /// What follows when a worker has nothing left to do. It holds no lock then, and no inhibitor.
    fn finish(&self) {
        reexec::ask(self);
        reboot::ask(self);
        self.arm_retry();
    }

    /// What kept the worker from serving any job is nobody's record: an alert says so.
    fn tell_failure<T>(&self, result: &Result<T>) {
        if let (Err(error), false) = (result, self.stopping()) {
            let text = format!("the queue could not be served: {error:#}");
            alert::raise(self, Cause::UpdateFailed, &text, None);
            recover::ask_for_another(&self.paths);
        }
    }

    /// Puts deferred jobs back into the queue: the network may be back. Has another worker ask for the
    /// reboot that waits: what was in its way may be gone.
    pub fn retry(&self) -> Result<()> {
        let released = queue::hold::release(&self.paths, reboot::keeps_back(self))?;
        if reboot::is_due(self) {
            systemd::start_unit(WORKER)?;
        }
        if released == 0 {
            self.arm_retry();
        }
        Ok(())
    }

    /// Serves the queue until the job is settled; the lock of all workers may be taken already.
    fn serve_until(&self, id: &JobId, mut lock: Option<Lock>) -> Result<Job> {
        loop {
            let lock = match lock.take() {
                Some(lock) => lock,
                None => self.lock(&format!("job {id}"))?,
            };
            let mut gone = false;
            if own::gives_way() {
                drop(lock);
                ensure!(!self.stopping(), STOPPED);
                thread::sleep(STOP_INTERVAL);
            } else {
                self.serve_waiting()?;
                alert::look(self);
                gone = !queue::is_waiting(&self.paths, id) && !recover::has(&self.paths, id);
                drop(lock);
            }
            if let Some(job) = Job::find(&self.paths, id)?.filter(Job::is_settled) {
                return Ok(job);
            }
            let left = Job::taken(&self.paths, id).is_some();
            ensure!(!(self.stopping() && left), heal::LeftForBoot);
            ensure!(
                !gone,
                "job {id} is neither in the queue nor in a worker's hands any more, and has not ended: another \
                 program has taken its files away"
            );
        }
    }

    fn serve_all(&self) -> Result<usize> {
        let mut failed = 0;
        while !self.stopping() {
            let _lock = self.lock("the queue")?;
            // what waits is served by the new program: the path unit starts it
            if door::was_replaced() {
                break;
            }
            // another worker may have served what this one was started for, and looked at the host since
            let Some(count) = self.serve_waiting()? else {
                break;
            };
            alert::look(self);
            failed += count;
        }
        Ok(failed)
    }

    /// Serves what waits now, under the lock; the number of jobs that failed, or `None` when nothing
    /// waits, and nobody had left anything.
    fn serve_waiting(&self) -> Result<Option<usize>> {
        let recovered = recover::run(self)?;
        let claimed = queue::claim(&self.paths, |jobs| {
            at_work::begin(&self.paths);
            recover::remember(self, jobs)
        })?;
        let decided = queue::hold::settle_marks(&self.paths, &claimed)?;
        for (order, names) in queue::order::distinct(&claimed.orders) {
            match order {
                Order::Acknowledge(cause) => alert::acknowledge(self, *cause),
                Order::Forget(job) => block::forget(self, job),
                Order::Reboot(delay) => reboot::order(self, *delay),
                Order::CancelReboot => reboot::cancel(self),
            }
            queue::order::remove(&self.paths, &names)?;
        }
        let (mut cancelled, jobs): (Vec<Job>, Vec<Job>) = claimed
            .jobs
            .into_iter()
            .partition(|job| Mark::Cancel.is_left(&self.paths, job.id()));
        for job in &mut cancelled {
            settle::cancel(job);
            Mark::Cancel.remove(&self.paths, job.id())?;
        }
        self.record(&mut cancelled)?;
        if jobs.is_empty() {
            // a round that has taken nothing away would find the same again, and so would the next
            let told = decided > 0 || !claimed.orders.is_empty();
            return Ok((recovered || !cancelled.is_empty() || told).then_some(0));
        }
        self.serve(jobs).map(Some)
    }

    /// The retry timer runs exactly while jobs are deferred, or a reboot waits.
    fn arm_retry(&self) {
        // durable, because the timer is there again after a reboot, and its condition
        let armed = self.paths.state().join("retry-armed");
        let wanted = queue::hold::any_deferred(&self.paths) || reboot::is_due(self);
        let result = match (wanted, armed.exists()) {
            (true, _) => std::fs::write(&armed, "")
                .map_err(Into::into)
                .and_then(|()| systemd::start_unit(RETRY_TIMER)),
            (false, true) => systemd::stop_unit(RETRY_TIMER)
                .and_then(|()| std::fs::remove_file(&armed).map_err(Into::into)),
            (false, false) => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!("{RETRY_TIMER} could not be told: {error:#}");
        }
    }

    /// Serves claimed jobs: one refresh for all, then the applies; the number that failed.
    fn serve(&self, mut jobs: Vec<Job>) -> Result<usize> {
        for job in &mut jobs {
            job.status = JobStatus::Running;
            job.started_at = Some(clock::now());
            let (kind, target) = (job.request.kind.to_string(), job.request.packages.as_ref());
            journal::job_started(job.id(), &kind, target, &job.request.requester);
        }
        Job::save_all(&self.paths, &jobs)?;
        // the door tells its listeners; nothing here waits for it
        thread::spawn(systemd::wake_door);
        let (mut unknown, jobs) = precondition::refuse_unknown(self, jobs);
        self.record_refused(&mut unknown)?;
        let (jobs, mut aside) = reboot::set_aside(self, jobs);
        let (rollbacks, jobs): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.request.kind == Kind::Rollback);
        let mut undone = Vec::new();
        for job in rollbacks {
            undone.push(manual::serve(self, job));
            // whoever waits for it need not wait for the others
            self.record(&mut undone)?;
        }
        let (applies, mut refreshes): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.request.kind != Kind::Refresh);
        let mut done = if applies.is_empty() && refreshes.is_empty() {
            Vec::new()
        } else if applies.is_empty() {
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
        done.append(&mut undone);
        done.append(&mut unknown);
        done.append(&mut aside);
        services::note(self, &mut done);
        reboot::decide(self, &mut done);
        self.record(&mut done)?;
        if done.iter().any(|job| job.status == JobStatus::Running) {
            // left for the next worker, or the next boot, which has to find them
            return Ok(0);
        }
        recover::forget(self)?;
        retention::run(self)?;
        Ok(done
            .iter()
            .filter(|job| job.status == JobStatus::Failed)
            .count())
    }

    /// Writes the records of jobs that have just ended, and says so in the journal.
    fn record(&self, jobs: &mut [Job]) -> Result<()> {
        let ended = self.end(jobs);
        let alerts = alert::settled(self, &ended);
        self.record_ended(&ended)?;
        alerts.iter().for_each(alert::announce);
        Ok(())
    }

    /// The same for jobs that could not be meant: a caller's typing error says nothing of the host.
    fn record_refused(&self, jobs: &mut [Job]) -> Result<()> {
        let ended = self.end(jobs);
        self.record_ended(&ended)
    }

    /// Ends the jobs that have come to their end and are not recorded yet; those.
    fn end(&self, jobs: &mut [Job]) -> Vec<Job> {
        let mut ended = Vec::new();
        for job in jobs.iter_mut() {
            // one that is recorded already is not told of twice, and a held one has its record elsewhere
            if job.status.is_final() && job.finished_at.is_none() {
                job.finished_at = Some(clock::now());
                job.reached = settle::is_reached(job);
                self.hangs.enter(job);
                ended.push(job.clone());
            }
        }
        ended
    }

    fn record_ended(&self, ended: &[Job]) -> Result<()> {
        if !ended.is_empty() {
            Job::save_all(&self.paths, ended)?;
        }
        for job in ended {
            Mark::Cancel.remove(&self.paths, job.id())?;
            verify::Before::forget(&self.paths, job.id());
            self.tell_kept_back(job);
            for note in &job.notes {
                journal::job_note(job.id(), note);
            }
            match job.status {
                JobStatus::Succeeded => journal::job_succeeded(job.id(), &job.summary()),
                JobStatus::Cancelled => journal::job_cancelled(job.id()),
                _ => journal::job_failed(job.id(), job.error.as_deref().unwrap_or("unknown")),
            }
        }
        rollback::tidy_seen(&self.paths, ended);
        Ok(())
    }

    /// Names what a job has kept back in the journal, unless it is there already.
    fn tell_kept_back(&self, job: &Job) {
        let before = Told::load(&self.paths);
        let mut told = before.clone();
        let everything =
            job.status == JobStatus::Succeeded && matches!(job.request.packages, Some(Target::All));
        for kept in told.news(&job.kept_back, everything) {
            journal::package_kept_back(job.id(), &kept.package, &kept.reason);
        }
        if told != before
            && let Err(error) = told.save(&self.paths)
        {
            tracing::warn!("{error:#}");
        }
    }

    /// Waits for the one lock of all workers, as cheaply as it can be: the one who has it is at work.
    fn lock(&self, what: &str) -> Result<Lock> {
        queue::prepare(&self.paths)?;
        let path = self.paths.worker_lock();
        if let Some(lock) = Lock::try_take(&path)? {
            return Ok(lock);
        }
        systemd::status(&format!("{what} waits for another worker"));
        let (taker, taken) = mpsc::channel();
        // one that nobody waits for any more gives the lock back at once
        thread::spawn(move || taker.send(Lock::take(&path)));
        loop {
            match taken.recv_timeout(STOP_INTERVAL) {
                Ok(lock) => return lock,
                Err(_) if self.stopping() => {
                    bail!(STOPPED)
                }
                Err(_) => {}
            }
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn finish_refresh(worker: &Worker, job: &mut Job, refreshed: &Result<()>) {
    match refreshed {
        Ok(()) => {
            job.status = JobStatus::Succeeded;
            settle::add(&mut job.notes, &Cache::load(&worker.paths).notes);
        }
        Err(error) => settle::not_begun(worker, job, error),
    }
}
