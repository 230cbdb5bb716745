//! The worker: takes the lock, drains the queue, and does what follows.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::fs::Lock;
use crate::host::{agent_client, clock, systemd};
use crate::journal;
use crate::paths::Paths;
use crate::queue::{self, Decision, WorkerCommand};
use crate::request::{JobId, Kind, Options, Request, Requester, Target};
use crate::state::alert::Cause;
use crate::state::at_work;
use crate::state::cache::Cache;
use crate::state::installed::Names;
use crate::state::job::{Job, JobStatus};
use crate::state::life::JobEvent;
use crate::worker::bookkeeping::context::{Context, FAILURE_PAUSE, STOP_INTERVAL};
use crate::worker::bookkeeping::errors::{self, STOPPED};
use crate::worker::bookkeeping::in_flight::{self, WORKER};
use crate::worker::bookkeeping::{alerts, job_result};
use crate::worker::jobs::{batch, commands, reboot, record, recover, retention, sandbox, undo};
use crate::worker::model::partial;
use crate::worker::steps::{
    download_ahead, foreign_shutdown, preconditions, reexec, refresh, services,
};

/// How often it tries.
const FAILURE_INTERVAL: Duration = Duration::from_secs(2);

/// What wakes the host while jobs are deferred or a reboot waits, and at no other time.
const RETRY_TIMER: &str = "patch-retry.timer";

/// A worker: serves the queue of the host in its context.
pub struct Worker {
    ctx: Context,
}

impl Worker {
    /// A worker for this host. `stop` is set by a signal handler; the worker ends as soon as that
    /// is safe. With an invalid configuration it serves all the same, and fails every job with that.
    #[must_use]
    pub fn new(paths: Paths, stop: Arc<AtomicBool>) -> Self {
        let scratch = paths.run();
        Self {
            ctx: Context::new(paths, stop, &scratch),
        }
    }

    /// The worker, showing what the package manager prints on standard error.
    #[must_use]
    pub fn on_terminal(mut self) -> Self {
        self.ctx.terminal = true;
        self
    }

    /// Refreshes the index now, and starts units of ours again that have failed.
    pub fn refresh(&self) -> Result<()> {
        let left = sandbox::is_in_the_way(&self.ctx).then(|| sandbox::leave_to_worker(&self.ctx));
        let lock = self.lock("refresh")?;
        let refresh =
            || refresh::run(&self.ctx, None).and_then(|()| refresh::list_pending(&self.ctx));
        let result = left.unwrap_or_else(refresh);
        if result.is_ok()
            && self.ctx.config.stage
            && let Err(error) = download_ahead::run(&self.ctx)
        {
            // it is done by the update, then
            tracing::warn!("pending updates could not be downloaded ahead: {error:#}");
        }
        alerts::check_host(&self.ctx);
        if let Err(error) = retention::run(&self.ctx) {
            tracing::warn!("old records of jobs could not be deleted: {error:#}");
        }
        drop(lock);
        self.finish();
        // a worker may have had to leave that to another one, which may not have been started since
        in_flight::ask_for_another(&self.ctx.paths);
        self.heal_units();
        // the sandbox of a refresh keeps it from that
        if !queue::owners::are_right(&self.ctx.paths) {
            let _ = systemd::start_unit_soon(WORKER.to_owned());
        }
        systemd::wake_agent();
        result
    }

    /// Starts units of ours again without which nothing would wake us.
    fn heal_units(&self) {
        match systemd::heal_units(&self.ctx.paths) {
            Ok(units) if !units.is_empty() => journal::units_healed(&units),
            Ok(_) => {}
            Err(error) => tracing::debug!("units were not checked: {error:#}"),
        }
    }

    /// Queues a request for `target` and serves the queue until that one is done; its record. The error is
    /// [`NotInstalled`](crate::state::installed::NotInstalled) when it names a package that is not installed: then there is no job.
    pub fn apply(&self, target: Target, requester: Requester) -> Result<Job> {
        if matches!(target, Target::Packages(_))
            && let Ok(database) = self.ctx.packages.installed()
        {
            Names::of(&database).judge(&target)?;
        }
        queue::prepare(&self.ctx.paths)?;
        let request = Request::apply(target, Options::default(), requester)?;
        // before the path unit starts its worker for it: if no other worker is at work, this one serves the request,
        // shows its progress, and receives the administrator's signal
        let lock = Lock::try_take(&self.ctx.paths.worker_lock()).ok().flatten();
        let id = queue::submit(&self.ctx.paths, &request)?;
        let result = self.serve_until(&id, lock);
        self.raise_failure(&result);
        self.finish();
        systemd::wake_agent();
        result
    }

    /// Serves the queue until it is empty; the number of jobs that failed.
    pub fn drain(&self) -> Result<usize> {
        let mut left = FAILURE_PAUSE;
        let result = loop {
            match self.serve_all() {
                // what waits goes on waiting, and is served at the next boot
                Err(_) if self.ctx.stopping() => break Ok(0),
                Err(error) if !left.is_zero() => {
                    // the administrator may have freed disk space meanwhile
                    systemd::status(&format!("{error:#}; trying again"));
                    thread::sleep(FAILURE_INTERVAL);
                    left = left.saturating_sub(FAILURE_INTERVAL);
                }
                other => break other,
            }
        };
        self.raise_failure(&result);
        self.finish();
        systemd::wake_agent();
        result
    }

    /// What follows when a worker has nothing left to do. It holds no lock then, and no inhibitor.
    fn finish(&self) {
        reexec::ask(&self.ctx);
        reboot::ask(&self.ctx);
        self.arm_retry();
    }

    /// Raises an alert for what kept the worker from serving any job: no record of a job has it.
    fn raise_failure<T>(&self, result: &Result<T>) {
        if let (Err(error), false) = (result, self.ctx.stopping()) {
            let text = format!("the queue could not be served: {error:#}");
            alerts::raise(&self.ctx, Cause::UpdateFailed, &text, None);
            in_flight::ask_for_another(&self.ctx.paths);
        }
    }

    /// Puts deferred jobs back into the queue: the network may be back. Has another worker ask for the
    /// reboot that waits: what was in its way may be gone.
    pub fn retry(&self) -> Result<()> {
        let released =
            queue::parked::release(&self.ctx.paths, foreign_shutdown::keeps_back(&self.ctx))?;
        if reboot::is_due(&self.ctx) {
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
            if gives_way() {
                drop(lock);
                ensure!(!self.ctx.stopping(), STOPPED);
                thread::sleep(STOP_INTERVAL);
            } else {
                self.serve_waiting()?;
                alerts::check_host(&self.ctx);
                gone =
                    !queue::is_waiting(&self.ctx.paths, id) && !in_flight::has(&self.ctx.paths, id);
                drop(lock);
            }
            if let Some(job) = Job::find(&self.ctx.paths, id)?.filter(Job::is_settled) {
                return Ok(job);
            }
            let left = Job::taken(&self.ctx.paths, id).is_some();
            ensure!(!(self.ctx.stopping() && left), errors::DeferredToNextBoot);
            ensure!(
                !gone,
                "job {id} is neither queued nor running, and has not ended: another program has removed its files"
            );
        }
    }

    fn serve_all(&self) -> Result<usize> {
        let mut failed = 0;
        while !self.ctx.stopping() {
            let _lock = self.lock("the queue")?;
            // what waits is served by the new program: the path unit starts it
            if agent_client::was_replaced() {
                break;
            }
            // another worker may have served what this one was started for, and looked at the host since
            let Some(count) = self.serve_waiting()? else {
                break;
            };
            alerts::check_host(&self.ctx);
            failed += count;
        }
        Ok(failed)
    }

    /// Serves what waits now, under the lock; the number of jobs that failed, or `None` when nothing
    /// waits, and no worker had left anything.
    fn serve_waiting(&self) -> Result<Option<usize>> {
        let recovered = recover::run(&self.ctx)?;
        let claimed = queue::claim(&self.ctx.paths, |jobs| {
            at_work::begin(&self.ctx.paths);
            in_flight::remember(&self.ctx, jobs)
        })?;
        let decided = queue::parked::apply_decisions(&self.ctx.paths, &claimed)?;
        for (order, names) in queue::command::distinct(&claimed.orders) {
            match order {
                WorkerCommand::Acknowledge(cause) => alerts::acknowledge(&self.ctx, *cause),
                WorkerCommand::Forget(job) => commands::forget(&self.ctx, job),
                WorkerCommand::Reboot(delay) => reboot::order(&self.ctx, *delay),
                WorkerCommand::CancelReboot => reboot::cancel(&self.ctx),
            }
            queue::command::remove(&self.ctx.paths, &names)?;
        }
        let (mut cancelled, jobs): (Vec<Job>, Vec<Job>) = claimed
            .jobs
            .into_iter()
            .partition(|job| Decision::Cancel.is_left(&self.ctx.paths, job.id()));
        for job in &mut cancelled {
            job_result::cancel(job);
            Decision::Cancel.remove(&self.ctx.paths, job.id())?;
        }
        record::finish(&self.ctx, &mut cancelled)?;
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
        let armed = self.ctx.paths.state().join("retry-armed");
        let wanted = queue::parked::any_deferred(&self.ctx.paths) || reboot::is_due(&self.ctx);
        let result = match (wanted, armed.exists()) {
            (true, _) => std::fs::write(&armed, "")
                .map_err(Into::into)
                .and_then(|()| systemd::start_unit(RETRY_TIMER)),
            (false, true) => systemd::stop_unit(RETRY_TIMER)
                .and_then(|()| std::fs::remove_file(&armed).map_err(Into::into)),
            (false, false) => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!("{RETRY_TIMER} could not be started or stopped: {error:#}");
        }
    }

    /// Serves claimed jobs: one refresh for all, then the applies; the number that failed.
    fn serve(&self, mut jobs: Vec<Job>) -> Result<usize> {
        for job in &mut jobs {
            job_result::take(job, JobEvent::Begin);
            job.started_at = Some(clock::now());
            let (kind, target) = (job.request.kind.to_string(), job.request.packages.as_ref());
            journal::job_started(job.id(), &kind, target, &job.request.requester);
        }
        Job::save_all(&self.ctx.paths, &jobs)?;
        // the door tells its listeners; nothing here waits for it
        thread::spawn(systemd::wake_agent);
        let (mut unknown, jobs) = preconditions::refuse_unknown(&self.ctx, jobs);
        record::finish_refused(&self.ctx, &mut unknown)?;
        let (jobs, mut aside) = foreign_shutdown::set_aside(&self.ctx, jobs);
        let (rollbacks, jobs): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.request.kind == Kind::Rollback);
        let mut undone = Vec::new();
        for job in rollbacks {
            undone.push(undo::serve(&self.ctx, job));
            // its caller need not wait for the others
            record::finish(&self.ctx, &mut undone)?;
        }
        let (applies, mut refreshes): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|job| job.request.kind != Kind::Refresh);
        let mut done = if applies.is_empty() && refreshes.is_empty() {
            Vec::new()
        } else if applies.is_empty() {
            let first = refreshes.first().map(Job::id);
            let refreshed =
                refresh::run(&self.ctx, first).and_then(|()| refresh::list_pending(&self.ctx));
            refreshes
                .iter_mut()
                .for_each(|job| finish_refresh(&self.ctx, job, &refreshed));
            Vec::new()
        } else {
            let (done, refreshed) = batch::run(&self.ctx, applies);
            refreshes
                .iter_mut()
                .for_each(|job| finish_refresh(&self.ctx, job, &refreshed));
            done
        };
        done.append(&mut refreshes);
        done.append(&mut undone);
        done.append(&mut unknown);
        done.append(&mut aside);
        services::note(&self.ctx, &mut done);
        reboot::decide(&self.ctx, &mut done);
        record::finish(&self.ctx, &mut done)?;
        if done.iter().any(|job| job.status == JobStatus::Running) {
            // left for the next worker, or the next boot, which has to find them
            return Ok(0);
        }
        in_flight::forget(&self.ctx)?;
        retention::run(&self.ctx)?;
        Ok(done
            .iter()
            .filter(|job| job.status == JobStatus::Failed)
            .count())
    }

    /// Waits for the one lock of all workers, as cheaply as it can be: the one who has it is at work.
    fn lock(&self, what: &str) -> Result<Lock> {
        queue::prepare(&self.ctx.paths)?;
        let path = self.ctx.paths.worker_lock();
        if let Some(lock) = Lock::try_take(&path)? {
            return Ok(lock);
        }
        systemd::status(&format!("{what} waits for another worker"));
        let (taker, taken) = mpsc::channel();
        // if this worker has stopped waiting, the thread releases the lock at once
        thread::spawn(move || taker.send(Lock::take(&path)));
        loop {
            match taken.recv_timeout(STOP_INTERVAL) {
                Ok(lock) => return lock,
                Err(_) if self.ctx.stopping() => {
                    bail!(STOPPED)
                }
                Err(_) => {}
            }
        }
    }
}

fn finish_refresh(ctx: &Context, job: &mut Job, refreshed: &Result<()>) {
    match refreshed {
        Ok(()) => {
            job_result::succeed(job);
            partial::add(&mut job.notes, &Cache::load(&ctx.paths).notes);
        }
        Err(error) => job_result::not_begun(ctx, job, error),
    }
}

/// Whether this worker leaves the queue to the new program that replaced it; not if that one cannot be started.
fn gives_way() -> bool {
    agent_client::was_replaced() && systemd::start_unit(WORKER).is_ok()
}
