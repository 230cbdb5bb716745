//! The signals for changes: `PropertiesChanged`, jobs, alerts.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use zbus::fdo::Properties;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant};
use zruntime::SharedRuntime;

use super::agent::Agent;
use super::alert_cursor::AlertCursor;
use crate::api::service::Service;
use crate::api::status::HostStatus;
use crate::api::watch::RecordWatch;
use crate::api::{BUS_NAME, OBJECT_PATH};
use crate::health::shown_time;
use crate::paths::Paths;
use crate::sorted::InOrder;
use crate::state::job::Job;

/// How long the service gathers changes before it sends signals.
const GATHER: Duration = Duration::from_millis(20);

/// The properties whose changes are signalled, with their values.
fn told(picture: &HostStatus) -> HashMap<&'static str, Variant<'static>> {
    let (health, reasons) = picture.health();
    let text = |text: &Option<String>| Variant::from(text.clone().unwrap_or_default());
    let updated = picture.cache.last_cache_update;
    let usec = updated
        .and_then(|time| u64::try_from(time.timestamp_micros()).ok())
        .unwrap_or(0);
    HashMap::from([
        ("Backend", picture.backend.clone().into()),
        ("Health", health.as_str().into()),
        ("HealthReasons", reasons.into()),
        ("CacheStatus", picture.cache_status().as_str().into()),
        ("LastCacheUpdate", shown_time(updated).into()),
        ("LastCacheUpdateUSec", usec.into()),
        ("LastCacheError", text(&picture.cache.last_error)),
        ("Phase", picture.update.phase.as_str().into()),
        ("AttemptCount", picture.update.attempt_count.into()),
        ("FromVersion", text(&picture.update.from_version)),
        ("ToVersion", text(&picture.update.to_version)),
        ("LastError", text(&picture.update.last_error)),
        ("CurrentJob", picture.current_job().to_owned().into()),
        ("Progress", picture.percent().into()),
        ("QueueLength", picture.queue_length.into()),
        ("PendingUpdates", picture.pending_updates().into()),
        ("PendingSecurityUpdates", picture.pending_security().into()),
        ("PendingNewPackages", picture.pending_new_packages().into()),
        (
            "KeptBackSecurityUpdates",
            picture.kept_back_security().into(),
        ),
        (
            "RebootRequired",
            (!picture.reboot_reasons.is_empty()).into(),
        ),
        ("RebootReasons", picture.reboot_reasons.clone().into()),
        ("RebootWaits", text(&picture.reboot_waits)),
        ("ScheduledShutdown", picture.shutdown_mode().into()),
        ("ScheduledShutdownUSec", picture.shutdown_usec().into()),
    ])
}

/// Signals what has changed. This process does not know what an earlier one signalled, so it first
/// signals every property once: a worker starts the service for that.
pub async fn tell(door: Arc<Service>, bus: Connection, records: RecordWatch) -> Result<()> {
    let emitter = SignalEmitter::new(&bus, OBJECT_PATH)?;
    let name = InterfaceName::try_from(BUS_NAME)?;
    let runtime = SharedRuntime::current()?;
    let mut known: HashMap<&'static str, Variant<'static>> = HashMap::new();
    let mut before = HostStatus::default();
    let mut heard = AlertCursor::load(&door.paths);
    // the service does not stop before it has signalled what it has seen
    let mut telling = door.activity.begin();
    loop {
        let picture = door.pictures.current().await;
        tell_jobs(&door, &emitter, &before, &picture).await?;
        heard
            .tell_alerts(&door.paths, &emitter, &picture.alerts.events)
            .await?;
        let now = told(&picture);
        let mut changed = HashMap::new();
        for (property, value) in &now {
            if known.get(property) != Some(value) {
                changed.insert(*property, value.try_clone()?);
            }
        }
        if !changed.is_empty() {
            let none = Cow::Borrowed(&[][..]);
            Properties::properties_changed(&emitter, name.clone(), changed, none).await?;
        }
        known = now;
        before = HostStatus::clone(&picture);
        drop(telling);
        records.changed().await?;
        telling = door.activity.begin();
        runtime.sleep(GATHER).await;
        records.forget();
    }
}

/// Signals which jobs the worker has taken, their progress, and which jobs it has finished or parked.
async fn tell_jobs(
    door: &Service,
    emitter: &SignalEmitter<'_>,
    before: &HostStatus,
    now: &HostStatus,
) -> Result<()> {
    let missing_in = |other: &HostStatus| {
        let known: BTreeSet<String> = other.running.iter().cloned().in_order();
        move |job: &&String| !known.contains(*job)
    };
    for job in now.running.iter().filter(missing_in(before)) {
        Agent::job_started(emitter, job).await?;
    }
    let news = now.progress.as_ref();
    let news = news.filter(|_| now.progress != before.progress && !now.running.is_empty());
    if let Some(progress) = news {
        let (job, action) = (progress.job.as_str(), &progress.action);
        Agent::job_progress(emitter, job, progress.percent, action).await?;
    }
    let ended: Vec<String> = before
        .running
        .iter()
        .filter(missing_in(now))
        .cloned()
        .collect();
    if ended.is_empty() {
        return Ok(());
    }
    let status = |paths: &Paths, job: &str| {
        let record = job
            .parse()
            .ok()
            .and_then(|id| Job::find(paths, &id).ok().flatten());
        record.map_or("unknown", |record| record.status.as_str())
    };
    let look = move |paths: &Paths| {
        let told = |job: String| (status(paths, &job), job);
        ended.into_iter().map(told).collect::<Vec<_>>()
    };
    for (status, job) in door.look_up(look).await {
        Agent::job_finished(emitter, &job, status).await?;
    }
    Ok(())
}
