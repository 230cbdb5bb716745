//! The object on the bus: what may be called, read and heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, fdo, interface};
use zruntime::SharedRuntime;

use super::answer::{
    answer, answers, failed, job_id, no_job, no_options, not_queued, unanswered, wrong,
};
use crate::VERSION;
use crate::doors::ask;
use crate::doors::door::{Door, UNITS_SHARED};
use crate::doors::inquire;
use crate::doors::polkit::{self, Verb};
use crate::doors::value::{self, Dictionary};
use crate::health::shown_time;
use crate::host::clock;
use crate::queue::{self, Mark, Order};
use crate::request::{Request, Requester, Target};
use crate::state::job::{self, Job};

/// How long `CheckHealth` waits for a refresh: as long as a refresh may take.
const REFRESH_WAIT: Duration = Duration::from_secs(125);

/// How many jobs `ListJobs` gives unless told otherwise.
const JOBS_SHOWN: usize = 50;

/// The object on the bus.
pub struct Agent {
    door: Arc<Door>,
}

impl Agent {
    /// What the door answers.
    pub fn new(door: Arc<Door>) -> Self {
        Self { door }
    }

    /// Queues what the caller may ask for; the id of the job. From here on the request stays as it is:
    /// what is authorised, each right that it takes by a question of its own, is what is queued.
    async fn submit(
        &self,
        mut request: Request,
        bus: &Connection,
        header: &Header<'_>,
    ) -> fdo::Result<String> {
        for verb in Verb::needed(&request) {
            request.requester.uid = Some(polkit::authorise(bus, header, verb).await?);
        }
        let id = queue::submit(&self.door.paths, &request).map_err(|error| not_queued(&error))?;
        Ok(id.to_string())
    }

    /// Leaves an order of a caller who may give it.
    async fn leave(
        &self,
        order: Order,
        verb: Verb,
        bus: &Connection,
        header: &Header<'_>,
    ) -> fdo::Result<()> {
        polkit::authorise(bus, header, verb).await?;
        let left = order.leave(&self.door.paths);
        left.map_err(|error| failed(&error))
    }

    /// Leaves the decision on a job of a caller who may make it.
    async fn decide(
        &self,
        job: &str,
        mark: Mark,
        verb: Verb,
        bus: &Connection,
        header: &Header<'_>,
    ) -> fdo::Result<()> {
        let id = job_id(job)?;
        polkit::authorise(bus, header, verb).await?;
        ask::decide(&self.door.paths, &id, mark).map_err(|error| wrong(&error))
    }
}

/// Keeps this host patched. Everybody may read; each changing method asks polkit.
// the signatures are the bus's, not ours to choose
#[allow(
    clippy::needless_pass_by_value,
    clippy::unused_self,
    clippy::wrong_self_convention
)]
#[interface(name = "org.linux_patch.Agent1", introspection_docs = false)]
impl Agent {
    /// Waits for a refresh when the index is stale, and returns the whole picture.
    #[zbus(out_args("picture"))]
    async fn check_health(&self) -> fdo::Result<Dictionary> {
        let _call = self.door.activity.begin();
        self.door.look_at_units(UNITS_SHARED).await;
        let before = self.door.pictures.current();
        if let Some(refresh) = self.door.ask_when_stale(&before) {
            let runtime = SharedRuntime::current().map_err(|error| failed(&error.into()))?;
            let until = Instant::now() + REFRESH_WAIT;
            while self.door.awaits(&refresh, &before) && Instant::now() < until {
                runtime.sleep(Duration::from_millis(50)).await;
            }
        }
        answer(self.door.counted().await.json())
    }

    /// Returns the whole picture as it is, and waits for nothing; what is old is asked for.
    #[zbus(out_args("picture"))]
    async fn get_health(&self) -> fdo::Result<Dictionary> {
        let _call = self.door.activity.begin();
        answer(self.door.cached().await.json())
    }

    /// Asks for a refresh of the package index; the id of the job.
    #[zbus(out_args("job"))]
    async fn refresh(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        let _call = self.door.activity.begin();
        let request = Request::refresh(Requester::at("dbus", None));
        let request = request.map_err(|error| failed(&error))?;
        self.submit(request, bus, &header).await
    }

    /// Asks for updates of the named packages, or of `all`, or of `security`; the id of the job.
    #[zbus(out_args("job"))]
    async fn apply(
        &self,
        packages: Vec<String>,
        options: Dictionary,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        let _call = self.door.activity.begin();
        let (paths, options) = (self.door.paths.clone(), value::object(&options));
        let request = move || {
            let request = ask::apply(&paths, &packages, options, "dbus")?;
            inquire::judge(&paths, &request)?;
            anyhow::Ok(request)
        };
        let request = zruntime::unblock(request).await;
        let request = request.map_err(|error| wrong(&error))?;
        self.submit(request, bus, &header).await
    }

    /// What an apply of these packages would do now.
    #[zbus(out_args("plan"))]
    async fn plan(&self, packages: Vec<String>, options: Dictionary) -> fdo::Result<Dictionary> {
        let _call = self.door.activity.begin();
        no_options(&options, &[])?;
        Target::from_names(&packages).map_err(|error| wrong(&error))?;
        let planned = self.door.plan(packages).await;
        answer(planned.map_err(|error| unanswered(&error))?)
    }

    /// Ends a job while that is safe: before its packages change.
    async fn cancel(
        &self,
        job: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let _call = self.door.activity.begin();
        self.decide(job, Mark::Cancel, Verb::Cancel, bus, &header)
            .await
    }

    /// The jobs whose preconditions no longer hold.
    #[zbus(out_args("conflicts"))]
    fn list_conflicts(&self) -> fdo::Result<Vec<Dictionary>> {
        let _call = self.door.activity.begin();
        answers(&queue::hold::conflicts(&self.door.paths))
    }

    /// Ends a conflict: `apply` does it all the same, `discard` does not.
    async fn resolve(
        &self,
        job: &str,
        decision: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let _call = self.door.activity.begin();
        let mark = match decision {
            "apply" => Mark::Apply,
            "discard" => Mark::Discard,
            _ => {
                return Err(fdo::Error::InvalidArgs(
                    "the decision is 'apply' or 'discard'".into(),
                ));
            }
        };
        self.decide(job, mark, Verb::Resolve, bus, &header).await
    }

    /// Asks for the changes of a job to be undone; the id of the new job.
    #[zbus(out_args("rollback"))]
    async fn rollback(
        &self,
        job: &str,
        options: Dictionary,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        let _call = self.door.activity.begin();
        let partial = ask::partial(value::object(&options)).map_err(|error| wrong(&error))?;
        let request = ask::rollback(&self.door.paths, &job_id(job)?, partial, "dbus");
        let request = request.map_err(|error| wrong(&error))?;
        self.submit(request, bus, &header).await
    }

    /// Offers again what a job had installed and was rolled back.
    async fn forget(
        &self,
        job: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let _call = self.door.activity.begin();
        let order =
            ask::forgetting(&self.door.paths, &job_id(job)?).map_err(|error| wrong(&error))?;
        self.leave(order, Verb::Rollback, bus, &header).await
    }

    /// Reboots the host when nothing is left to do, or does not after all.
    async fn reboot(
        &self,
        options: Dictionary,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let _call = self.door.activity.begin();
        let order = ask::reboot(value::object(&options)).map_err(|error| wrong(&error))?;
        self.leave(order, Verb::Reboot, bus, &header).await
    }

    /// Ends an alert that somebody has seen, or all of them.
    async fn acknowledge(
        &self,
        key: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let _call = self.door.activity.begin();
        let order = ask::acknowledgement(key).map_err(|error| wrong(&error))?;
        self.leave(order, Verb::Acknowledge, bus, &header).await
    }

    /// The pending updates.
    #[zbus(out_args("updates"))]
    async fn list_updates(&self) -> fdo::Result<Vec<Dictionary>> {
        let _call = self.door.activity.begin();
        self.door.ask_when_stale(&self.door.pictures.current());
        let list = self.door.pending().await;
        answers(&list.map_err(|error| unanswered(&error))?.pending.updates)
    }

    /// The latest jobs, newest first; options `limit` (u): how many at most, and `active` (b): only
    /// those that have not ended.
    #[zbus(out_args("jobs"))]
    fn list_jobs(&self, options: Dictionary) -> fdo::Result<Vec<Dictionary>> {
        let _call = self.door.activity.begin();
        no_options(&options, &["limit", "active"])?;
        let wrong = |key: &str, signature: &str| {
            fdo::Error::InvalidArgs(format!("{key} must be of type {signature}"))
        };
        let limit = match options.get("limit").map(|limit| u32::try_from(&**limit)) {
            None => JOBS_SHOWN,
            Some(limit) => {
                usize::try_from(limit.map_err(|_| wrong("limit", "u"))?).unwrap_or(JOBS_SHOWN)
            }
        };
        let active = match options
            .get("active")
            .map(|active| bool::try_from(&**active))
        {
            None => false,
            Some(active) => active.map_err(|_| wrong("active", "b"))?,
        };
        let jobs = ask::jobs(&self.door.paths, limit, active).map_err(|error| failed(&error))?;
        jobs.into_iter().map(answer).collect()
    }

    /// One job's record.
    #[zbus(out_args("record"))]
    fn get_job(&self, job: &str) -> fdo::Result<Dictionary> {
        let _call = self.door.activity.begin();
        let id = job_id(job)?;
        let record = ask::job(&self.door.paths, &id).map_err(|error| failed(&error))?;
        answer(record.ok_or_else(|| no_job(&id))?)
    }

    /// What the package manager printed in a job.
    #[zbus(out_args("log"))]
    fn get_job_log(&self, job: &str) -> fdo::Result<String> {
        let _call = self.door.activity.begin();
        let id = job_id(job)?;
        let record = Job::find(&self.door.paths, &id)
            .map_err(|error| failed(&error))?
            .ok_or_else(|| no_job(&id))?;
        let log = std::fs::read(job::log(&self.door.paths, &record.transaction));
        Ok(String::from_utf8_lossy(&log.unwrap_or_default()).replace('\0', " "))
    }

    /// A worker has taken a job.
    #[zbus(signal)]
    pub async fn job_started(emitter: &SignalEmitter<'_>, job: &str) -> zbus::Result<()>;

    /// A running job is that far, and does that.
    #[zbus(signal)]
    pub async fn job_progress(
        emitter: &SignalEmitter<'_>,
        job: &str,
        percent: u32,
        action: &str,
    ) -> zbus::Result<()>;

    /// A job has left the worker's hands, with that status.
    #[zbus(signal)]
    pub async fn job_finished(
        emitter: &SignalEmitter<'_>,
        job: &str,
        status: &str,
    ) -> zbus::Result<()>;

    /// Something is wrong that somebody should know.
    #[zbus(signal)]
    pub async fn alert_raised(
        emitter: &SignalEmitter<'_>,
        key: &str,
        text: &str,
        since: u64,
    ) -> zbus::Result<()>;

    /// It is over.
    #[zbus(signal)]
    pub async fn alert_resolved(emitter: &SignalEmitter<'_>, key: &str) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        VERSION.to_owned()
    }

    #[zbus(property)]
    fn backend(&self) -> String {
        self.door.read().1.backend.clone()
    }

    #[zbus(property)]
    async fn health(&self) -> String {
        self.door
            .read_health()
            .await
            .1
            .health()
            .0
            .as_str()
            .to_owned()
    }

    #[zbus(property)]
    async fn health_reasons(&self) -> Vec<String> {
        self.door.read_health().await.1.health().1
    }

    #[zbus(property)]
    fn cache_status(&self) -> String {
        let (_call, picture) = self.door.read();
        self.door.ask_when_stale(&picture);
        picture.cache_status().as_str().to_owned()
    }

    #[zbus(property)]
    fn last_cache_update(&self) -> String {
        shown_time(self.door.read().1.cache.last_cache_update)
    }

    #[zbus(property, name = "LastCacheUpdateUSec")]
    fn last_cache_update_usec(&self) -> u64 {
        let time = self.door.read().1.cache.last_cache_update;
        time.and_then(|time| u64::try_from(time.timestamp_micros()).ok())
            .unwrap_or(0)
    }

    #[zbus(property)]
    fn last_cache_error(&self) -> String {
        self.door
            .read()
            .1
            .cache
            .last_error
            .clone()
            .unwrap_or_default()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn uptime_seconds(&self) -> u64 {
        let _call = self.door.activity.begin();
        clock::uptime().as_secs()
    }

    #[zbus(property)]
    fn phase(&self) -> String {
        self.door.read().1.update.phase.as_str().to_owned()
    }

    #[zbus(property)]
    fn attempt_count(&self) -> u32 {
        self.door.read().1.update.attempt_count
    }

    #[zbus(property)]
    fn from_version(&self) -> String {
        self.door
            .read()
            .1
            .update
            .from_version
            .clone()
            .unwrap_or_default()
    }

    #[zbus(property)]
    fn to_version(&self) -> String {
        self.door
            .read()
            .1
            .update
            .to_version
            .clone()
            .unwrap_or_default()
    }

    #[zbus(property)]
    fn last_error(&self) -> String {
        self.door
            .read()
            .1
            .update
            .last_error
            .clone()
            .unwrap_or_default()
    }

    #[zbus(property)]
    fn current_job(&self) -> String {
        self.door.read().1.current_job().to_owned()
    }

    #[zbus(property)]
    fn progress(&self) -> u32 {
        self.door.read().1.progress.percent
    }

    #[zbus(property)]
    fn queue_length(&self) -> u32 {
        self.door.read().1.queue_length
    }

    #[zbus(property)]
    fn pending_updates(&self) -> u32 {
        self.door.read_count().1.pending_updates()
    }

    #[zbus(property)]
    fn pending_new_packages(&self) -> u32 {
        self.door.read_count().1.pending_new_packages()
    }

    #[zbus(property)]
    fn kept_back_security_updates(&self) -> u32 {
        self.door.read_count().1.kept_back_security()
    }

    #[zbus(property)]
    fn pending_security_updates(&self) -> u32 {
        self.door.read_count().1.pending_security()
    }

    #[zbus(property)]
    fn reboot_required(&self) -> bool {
        !self.door.read().1.reboot_reasons.is_empty()
    }

    #[zbus(property)]
    fn reboot_reasons(&self) -> Vec<String> {
        self.door.read().1.reboot_reasons.clone()
    }

    #[zbus(property)]
    fn reboot_waits(&self) -> String {
        self.door.read().1.reboot_waits.clone().unwrap_or_default()
    }

    #[zbus(property)]
    fn scheduled_shutdown(&self) -> String {
        self.door.read().1.shutdown_mode()
    }

    #[zbus(property, name = "ScheduledShutdownUSec")]
    fn scheduled_shutdown_usec(&self) -> u64 {
        self.door.read().1.shutdown_usec()
    }
}
