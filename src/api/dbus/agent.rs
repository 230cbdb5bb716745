//! The object on the bus: its methods, properties and signals.

use std::sync::Arc;

use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, fdo, interface};

use super::call_slots::CallSlots;
use super::reply::{
    answer, answers, failed, job_id, no_job, no_options, unanswered, wanted, wrong,
};
use crate::api::polkit::PolkitAction;
use crate::api::service::{Service, UNITS_SHARED};
use crate::api::value::{self, Dictionary, Record, Records};
use crate::api::{operations, records};
use crate::health::shown_time;
use crate::host::clock;
use crate::queue::Decision;
use crate::request::{Request, Requester, Target};
use crate::{COMMIT, PROTOCOL, VERSION};

/// The object on the bus.
pub struct Agent {
    pub(super) door: Arc<Service>,
    pub(super) places: CallSlots,
}

impl Agent {
    /// Answers the calls.
    pub fn new(door: Arc<Service>) -> Self {
        Self {
            door,
            places: CallSlots::default(),
        }
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
    async fn check_health(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Record> {
        let _call = self.enter(bus, &header).await?;
        self.door.look_at_units(UNITS_SHARED).await;
        let before = self.door.pictures.current().await;
        if before.wants_refresh() {
            self.await_refresh(before).await?;
        }
        self.report(self.door.counted().await).await
    }

    /// Returns the whole picture as it is, and waits for nothing; what is old is asked for.
    #[zbus(out_args("picture"))]
    async fn get_health(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Record> {
        let _call = self.enter(bus, &header).await?;
        self.report(self.door.cached().await).await
    }

    /// Asks for a refresh of the package index; the id of the job.
    #[zbus(out_args("job"))]
    async fn refresh(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        let call = self.enter(bus, &header).await?;
        let request = Request::refresh(Requester::at("dbus", None));
        let request = request.map_err(|error| failed(&error))?;
        self.submit(&call, request).await
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
        let call = self.enter(bus, &header).await?;
        let request = operations::apply(&packages, value::object(&options), "dbus");
        let request = request.map_err(|error| wrong(&error))?;
        self.submit(&call, request).await
    }

    /// What an apply of these packages would do now.
    #[zbus(out_args("plan"))]
    async fn plan(
        &self,
        packages: Vec<String>,
        options: Dictionary,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Record> {
        let _call = self.enter(bus, &header).await?;
        no_options(&options, &[])?;
        Target::from_names(&packages).map_err(|error| wrong(&error))?;
        let planned = self.door.plan(packages).await;
        planned.map_err(|error| unanswered(&error))
    }

    /// Ends a job while that is safe: before its packages change.
    async fn cancel(
        &self,
        job: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let call = self.enter(bus, &header).await?;
        self.decide(&call, job, Decision::Cancel, PolkitAction::Cancel)
            .await
    }

    /// The jobs whose preconditions no longer hold.
    #[zbus(out_args("conflicts"))]
    async fn list_conflicts(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Records> {
        let _call = self.enter(bus, &header).await?;
        let paths = self.door.paths.clone();
        let list = move || answers(records::conflicts(&paths).map_err(|error| failed(&error))?);
        self.door.conflicts.get(list).await
    }

    /// Ends a conflict: `apply` does it all the same, `discard` does not.
    async fn resolve(
        &self,
        job: &str,
        decision: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let call = self.enter(bus, &header).await?;
        let mark = match decision {
            "apply" => Decision::Apply,
            "discard" => Decision::Discard,
            _ => {
                return Err(fdo::Error::InvalidArgs(
                    "the decision has to be 'apply' or 'discard'".into(),
                ));
            }
        };
        self.decide(&call, job, mark, PolkitAction::Resolve).await
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
        let call = self.enter(bus, &header).await?;
        let partial =
            operations::partial(value::object(&options)).map_err(|error| wrong(&error))?;
        let request = operations::rollback(&job_id(job)?, partial, "dbus");
        let request = request.map_err(|error| wrong(&error))?;
        self.submit(&call, request).await
    }

    /// Offers again what a job had installed and was rolled back.
    async fn forget(
        &self,
        job: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let call = self.enter(bus, &header).await?;
        self.forget_what(&call, job_id(job)?).await
    }

    /// Reboots the host when nothing is left to do, or does not after all.
    async fn reboot(
        &self,
        options: Dictionary,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let call = self.enter(bus, &header).await?;
        let order = operations::reboot(value::object(&options)).map_err(|error| wrong(&error))?;
        self.leave(&call, order, PolkitAction::Reboot).await
    }

    /// Ends an alert that somebody has seen, or all of them.
    async fn acknowledge(
        &self,
        key: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<()> {
        let call = self.enter(bus, &header).await?;
        let order = operations::acknowledgement(key).map_err(|error| wrong(&error))?;
        self.leave(&call, order, PolkitAction::Acknowledge).await
    }

    /// The pending updates.
    #[zbus(out_args("updates"))]
    async fn list_updates(
        &self,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Records> {
        let _call = self.enter(bus, &header).await?;
        self.door.read_and_refresh().await;
        self.door.pending(unanswered).await
    }

    /// The latest jobs, newest first; options `limit` (u): how many at most, `active` (b): only those that have not
    /// ended, `status` (s): only those with this status, and `before` (s): only those older than this job.
    #[zbus(out_args("jobs"))]
    async fn list_jobs(
        &self,
        options: Dictionary,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Records> {
        let _call = self.enter(bus, &header).await?;
        let wanted = wanted(&options)?;
        let list = move |paths: &_| {
            let page = records::page(paths, &wanted);
            answers(page.map_err(|error| failed(&error))?)
        };
        self.door.look_up(list).await
    }

    /// One job's record.
    #[zbus(out_args("record"))]
    async fn get_job(
        &self,
        job: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<Record> {
        let _call = self.enter(bus, &header).await?;
        let id = job_id(job)?;
        let look = move |paths: &_| {
            let record = records::job(paths, &id).map_err(|error| failed(&error))?;
            answer(record.ok_or_else(|| no_job(&id))?)
        };
        self.door.look_up(look).await
    }

    /// What the package manager printed in a job; of a long output the end.
    #[zbus(out_args("log"))]
    async fn get_job_log(
        &self,
        job: &str,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<String> {
        let _call = self.enter(bus, &header).await?;
        let id = job_id(job)?;
        let look = move |paths: &_| {
            let log = records::log_tail(paths, &id).map_err(|error| failed(&error))?;
            log.ok_or_else(|| no_job(&id))
        };
        self.door.look_up(look).await
    }

    /// A part of what the package manager printed in a job, from a byte on, and where the next part begins.
    #[zbus(out_args("text", "next"))]
    async fn read_job_log(
        &self,
        job: &str,
        offset: u64,
        #[zbus(connection)] bus: &Connection,
        #[zbus(header)] header: Header<'_>,
    ) -> fdo::Result<(String, u64)> {
        let _call = self.enter(bus, &header).await?;
        let id = job_id(job)?;
        let look = move |paths: &_| {
            let part = records::log_part(paths, &id, offset).map_err(|error| failed(&error))?;
            part.map(|part| (part.text, part.next))
                .ok_or_else(|| no_job(&id))
        };
        self.door.look_up(look).await
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

    #[zbus(property(emits_changed_signal = "const"))]
    fn commit(&self) -> String {
        COMMIT.to_owned()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn protocol_version(&self) -> u32 {
        PROTOCOL
    }

    #[zbus(property)]
    async fn backend(&self) -> String {
        self.door.read().await.backend.clone()
    }

    #[zbus(property)]
    async fn health(&self) -> String {
        let seen = self.door.read_health().await;
        seen.health().0.as_str().to_owned()
    }

    #[zbus(property)]
    async fn health_reasons(&self) -> Vec<String> {
        self.door.read_health().await.health().1
    }

    #[zbus(property)]
    async fn cache_status(&self) -> String {
        let seen = self.door.read_and_refresh().await;
        seen.cache_status().as_str().to_owned()
    }

    #[zbus(property)]
    async fn last_cache_update(&self) -> String {
        shown_time(self.door.read().await.cache.last_cache_update)
    }

    #[zbus(property, name = "LastCacheUpdateUSec")]
    async fn last_cache_update_usec(&self) -> u64 {
        let time = self.door.read().await.cache.last_cache_update;
        time.and_then(|time| u64::try_from(time.timestamp_micros()).ok())
            .unwrap_or(0)
    }

    #[zbus(property)]
    async fn last_cache_error(&self) -> String {
        let seen = self.door.read().await;
        seen.cache.last_error.clone().unwrap_or_default()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn uptime_seconds(&self) -> u64 {
        let _call = self.door.activity.begin();
        clock::uptime().as_secs()
    }

    #[zbus(property)]
    async fn phase(&self) -> String {
        self.door.read().await.update.phase.as_str().to_owned()
    }

    #[zbus(property)]
    async fn attempt_count(&self) -> u32 {
        self.door.read().await.update.attempt_count
    }

    #[zbus(property)]
    async fn from_version(&self) -> String {
        let seen = self.door.read().await;
        seen.update.from_version.clone().unwrap_or_default()
    }

    #[zbus(property)]
    async fn to_version(&self) -> String {
        let seen = self.door.read().await;
        seen.update.to_version.clone().unwrap_or_default()
    }

    #[zbus(property)]
    async fn last_error(&self) -> String {
        let seen = self.door.read().await;
        seen.update.last_error.clone().unwrap_or_default()
    }

    #[zbus(property)]
    async fn current_job(&self) -> String {
        self.door.read().await.current_job().to_owned()
    }

    #[zbus(property)]
    async fn progress(&self) -> u32 {
        self.door.read().await.percent()
    }

    #[zbus(property)]
    async fn queue_length(&self) -> u32 {
        self.door.read().await.queue_length
    }

    #[zbus(property)]
    async fn pending_updates(&self) -> u32 {
        self.door.read_count().await.pending_updates()
    }

    #[zbus(property)]
    async fn pending_new_packages(&self) -> u32 {
        self.door.read_count().await.pending_new_packages()
    }

    #[zbus(property)]
    async fn kept_back_security_updates(&self) -> u32 {
        self.door.read_count().await.kept_back_security()
    }

    #[zbus(property)]
    async fn pending_security_updates(&self) -> u32 {
        self.door.read_count().await.pending_security()
    }

    #[zbus(property)]
    async fn reboot_required(&self) -> bool {
        !self.door.read().await.reboot_reasons.is_empty()
    }

    #[zbus(property)]
    async fn reboot_reasons(&self) -> Vec<String> {
        self.door.read().await.reboot_reasons.clone()
    }

    #[zbus(property)]
    async fn reboot_waits(&self) -> String {
        let seen = self.door.read().await;
        seen.reboot_waits.clone().unwrap_or_default()
    }

    #[zbus(property)]
    async fn scheduled_shutdown(&self) -> String {
        self.door.read().await.shutdown_mode()
    }

    #[zbus(property, name = "ScheduledShutdownUSec")]
    async fn scheduled_shutdown_usec(&self) -> u64 {
        self.door.read().await.shutdown_usec()
    }
}
