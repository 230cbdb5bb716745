//! Events of a reboot, of restarted services and of the service manager.

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::{info, warn};

use super::{id, plain};
use crate::request::JobId;

/// A reboot of the host was asked for.
pub fn reboot_scheduled(job: Option<&JobId>, at: DateTime<Utc>, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::REBOOT_SCHEDULED, PATCH_JOB = job.map(JobId::as_str),
        PATCH_TIME = %at.to_rfc3339(), PATCH_REASON = %why,
        "the host reboots at {}: {why}", at.to_rfc3339_opts(SecondsFormat::Secs, true));
}

/// A reboot is to follow and cannot be asked for yet.
pub fn reboot_refused(job: Option<&JobId>, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::REBOOT_REFUSED, PATCH_JOB = job.map(JobId::as_str), PATCH_ERROR = %why,
        "the reboot has to wait: {why}");
}

/// A scheduled reboot was taken back, and is asked for again.
pub fn reboot_postponed(job: Option<&JobId>, at: DateTime<Utc>, why: &str) {
    let why = plain(why);
    info!(MESSAGE_ID = id::REBOOT_POSTPONED, PATCH_JOB = job.map(JobId::as_str),
        PATCH_TIME = %at.to_rfc3339(), PATCH_REASON = %why,
        "the reboot at {} is postponed: {why}", at.to_rfc3339_opts(SecondsFormat::Secs, true));
}

/// A reboot was taken back.
pub fn reboot_cancelled() {
    info!(
        MESSAGE_ID = id::REBOOT_CANCELLED,
        "the reboot was cancelled"
    );
}

/// A service still runs what an update has replaced.
/// `advice` replaces it.
pub fn service_outdated(job: &JobId, unit: &str, file: &str, advice: &str) {
    let (unit, file, advice) = (plain(unit), plain(file), plain(advice));
    info!(MESSAGE_ID = id::SERVICE_OUTDATED, PATCH_JOB = %job, PATCH_UNIT = %unit, PATCH_FILE = %file,
        PATCH_ADVICE = %advice, "{unit} still runs '{file}' as it was before the update");
}

/// The service manager is asked to re-execute itself, because it ran what an update has replaced.
pub fn manager_reexecuted() {
    info!(
        MESSAGE_ID = id::MANAGER_REEXECUTED,
        "the service manager re-executes itself, because it ran replaced files"
    );
}

/// A service was restarted because it ran what an update has replaced.
pub fn service_restarted(job: &JobId, unit: &str) {
    let unit = plain(unit);
    info!(MESSAGE_ID = id::SERVICE_RESTARTED, PATCH_JOB = %job, PATCH_UNIT = %unit,
        "{unit} was restarted, because it ran replaced files");
}
