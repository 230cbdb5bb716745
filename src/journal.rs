//! Every event of this program: a `MESSAGE_ID`, fields, and one function each.
//!
//! The catalog (`units/catalog/`) explains each id; a test holds the two together. Fields of ours
//! begin with `PATCH_`. Text from package managers and maintainer scripts is hostile: control
//! characters are taken out before it gets here (see [`plain`]).

// field names in the journal are upper case
#![allow(clippy::redundant_pub_crate)]

use std::io::Write;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, error, info, warn};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::request::{JobId, Requester, Target};

/// What `journalctl -t` finds.
pub const IDENTIFIER: &str = "patchctl";

/// The message ids, in the form of `journalctl MESSAGE_ID=…`.
pub mod id {
    /// The package index was refreshed.
    pub const REFRESH_SUCCEEDED: &str = "47eaa0992cb6916d86dc283cf0480ff9";
    /// The package index could not be refreshed.
    pub const REFRESH_FAILED: &str = "1509bb0a9bf13331ca118783593942a4";
    /// One package source failed.
    pub const SOURCE_FAILED: &str = "f5ec52ed0108847512e1bc7656670b14";
    /// A source served an older index than before.
    pub const INDEX_WENT_BACK: &str = "59ba1b0d5c9061582909406c2e416788";
    /// A worker took a job.
    pub const JOB_STARTED: &str = "5d32fe61985fb4e72a095ee82bb29976";
    /// A job is done.
    pub const JOB_SUCCEEDED: &str = "9a1e40b458151a9959e2d15364c7a500";
    /// A job failed.
    pub const JOB_FAILED: &str = "68b4aef73eaabe171d8a4eace693ae2d";
    /// A job was stopped before it changed anything.
    pub const JOB_CANCELLED: &str = "142c83647806857713e783e7eb04b39b";
    /// A worker died in the middle of a job.
    pub const JOB_INTERRUPTED: &str = "3b041641178854f2260df25453fe2e85";
    /// The package manager starts to change packages.
    pub const ACTIVATION: &str = "00a154d85ed8abcc35c719c2add9ca88";
    /// One package was changed.
    pub const PACKAGE_CHANGED: &str = "c0290103855dbf5559ec8712e8e3574f";
    /// One package has a newer version and stays.
    pub const PACKAGE_KEPT_BACK: &str = "6e704245a4ff91e3e7949b80dcb0b82e";
    /// A download failed; refresh, and once more.
    pub const RETRY: &str = "de1b1471320a88ea37a788d106762832";
    /// The package manager reports nothing for too long.
    pub const STUCK: &str = "decca7ba570b46c7a05f66a2b28d0308";
    /// Another package manager is at work.
    pub const WAITING: &str = "4350cc1721e52f212cd552a09ddbef12";
    /// Something that is not a valid request was refused.
    pub const REQUEST_REFUSED: &str = "9ed89eddd6846325b600e6129ec04ece";
    /// A state file could not be used.
    pub const STATE_UNUSABLE: &str = "627bf3225fac9cb6e34acb115ee347dd";
    /// The package database is not in order.
    pub const DATABASE_PROBLEM: &str = "a930d55d9545f0f3ee889fe46f2c7a8c";
    /// The package database was found interrupted.
    pub const DATABASE_INTERRUPTED: &str = "22ad00302009eb144f51f11be0bf3b5d";
    /// The package database was repaired.
    pub const DATABASE_REPAIRED: &str = "ccb24c5c6de7da68cfd732dfa8795416";
    /// What is pending was downloaded ahead.
    pub const STAGED: &str = "3a27a181f269bbbf1fa5583149f3c6cd";
    /// Failed units of ours were started again.
    pub const UNITS_HEALED: &str = "43f2f1936e85df0875927b0fe339d309";
    /// A job waits for the network.
    pub const JOB_DEFERRED: &str = "3ceaaf308142c8ea91d93080f9b439fc";
    /// A job's preconditions no longer hold.
    pub const JOB_CONFLICT: &str = "9dfb369bab13dfae627655daa05f1119";
    /// Something was looked at after an update.
    pub const CHECKED: &str = "c9209b469055948a46d051d6c78f2f35";
    /// An update is being undone.
    pub const ROLLBACK_STARTED: &str = "738f52330fae8038405e74442539a57d";
    /// An update was undone.
    pub const ROLLED_BACK: &str = "3bdf14ff036596bbc61e6d72615e67f5";
    /// An update could not be undone.
    pub const ROLLBACK_FAILED: &str = "d4df6afd9608953ec58d7f237f0e41b9";
    /// What was undone is not offered again.
    pub const BLOCKED: &str = "17fbe1591ca73c4a437cec523af2a3f8";
    /// What was undone is offered again.
    pub const UNBLOCKED: &str = "bb43d18ef09aa8ca7a802a252686ab80";
    /// A job has something to tell.
    pub const JOB_NOTE: &str = "990d3cd8381df22f050c86bd84e0164b";
    /// A reboot of the host was asked for.
    pub const REBOOT_SCHEDULED: &str = "23150682cb17498084ad0609fae4f7e8";
    /// A reboot was to follow and could not be asked for.
    pub const REBOOT_REFUSED: &str = "497d800d178a426196a92522f92920cc";
    /// A reboot was taken back.
    pub const REBOOT_CANCELLED: &str = "8da4e8c875a64ba8b7c01c8bf032d2c4";
    /// A service still runs what an update has replaced.
    pub const SERVICE_OUTDATED: &str = "02ed64715fae40ef91f7d310670cc473";
    /// A service was restarted because it ran what an update has replaced.
    pub const SERVICE_RESTARTED: &str = "224922b405234f779e46e90298cb8325";
    /// Something is wrong that somebody should know.
    pub const ALERT_RAISED: &str = "c9ecb6bff7f84c25800110a5b64d1e0a";
    /// What an alert was raised for is over.
    pub const ALERT_RESOLVED: &str = "eafe1cd1309f4e1f8b24969169cec958";
    /// A program of the administrator was run.
    pub const HOOK_OUTPUT: &str = "6ceb163a60c14e9ea58be2107103c75c";
    /// A program of the administrator could not be run, or failed.
    pub const HOOK_FAILED: &str = "7c0c11778c674ae28451f14fa1d48d1c";
}

/// Sends events to the journal; also to standard error when `terminal` says so, and instead of the
/// journal where there is none.
pub fn init(terminal: bool) {
    let journal = tracing_journald::layer().ok().map(|layer| {
        layer
            .with_field_prefix(None)
            .with_syslog_identifier(IDENTIFIER.to_owned())
            .with_custom_fields(unit().map(|unit| ("OBJECT_SYSTEMD_UNIT", unit)))
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            })
    });
    let errors = (terminal || journal.is_none()).then_some(Terminal);
    let level = tracing_subscriber::filter::LevelFilter::INFO;
    // a second call can only come from a test in the same process
    let _ = tracing_subscriber::registry()
        .with(level)
        .with(journal)
        .with(errors)
        .try_init();
}

/// The unit this process runs in. journald finds that out by itself, unless the process has ended by
/// then; `journalctl -u` believes this field of root's processes, so that no last word is missed.
fn unit() -> Option<String> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = cgroups.lines().find(|line| line.starts_with("0::"))?;
    let unit = own.rsplit('/').next()?;
    unit.ends_with(".service").then(|| unit.to_owned())
}

/// Text of others for one line of the journal or the terminal: no control characters, no
/// bidirectional marks, at most 2000 characters.
#[must_use]
pub fn plain(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .take(2000)
        .map(|c| if hidden(c) { ' ' } else { c })
        .collect()
}

/// The index was refreshed.
pub fn refresh_succeeded(sources: usize) {
    info!(
        MESSAGE_ID = id::REFRESH_SUCCEEDED,
        PATCH_COUNT = sources,
        "package index refreshed from {sources} sources"
    );
}

/// The index could not be refreshed.
pub fn refresh_failed(why: &str) {
    let why = plain(why);
    error!(MESSAGE_ID = id::REFRESH_FAILED, PATCH_ERROR = %why, "refresh failed: {why}");
}

/// One source failed.
pub fn source_failed(source: &str, why: &str, tolerated: bool) {
    let (source, why) = (plain(source), plain(why));
    let how = if tolerated { " (tolerated)" } else { "" };
    warn!(MESSAGE_ID = id::SOURCE_FAILED, PATCH_SOURCE = %source, PATCH_ERROR = %why,
        "source {source} failed{how}: {why}");
}

/// A source served an older index than before.
pub fn index_went_back(source: &str, why: &str) {
    let (source, why) = (plain(source), plain(why));
    warn!(MESSAGE_ID = id::INDEX_WENT_BACK, PATCH_SOURCE = %source, PATCH_ERROR = %why,
        "source {source}: {why}");
}

/// A worker took a job.
pub fn job_started(job: &JobId, kind: &str, target: Option<&Target>, requester: &Requester) {
    let target = target.map(ToString::to_string).unwrap_or_default();
    let uid = requester.uid.map(|uid| uid.to_string()).unwrap_or_default();
    let door = &requester.door;
    info!(MESSAGE_ID = id::JOB_STARTED, PATCH_JOB = %job, PATCH_KIND = kind,
        PATCH_TARGET = %target, PATCH_DOOR = %door, PATCH_UID = %uid,
        "job {job} started: {kind} {target}");
}

/// A job is done.
pub fn job_succeeded(job: &JobId, summary: &str) {
    info!(MESSAGE_ID = id::JOB_SUCCEEDED, PATCH_JOB = %job, "job {job} succeeded: {summary}");
}

/// A job failed.
pub fn job_failed(job: &JobId, why: &str) {
    let why = plain(why);
    error!(MESSAGE_ID = id::JOB_FAILED, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} failed: {why}");
}

/// A job was stopped before it changed anything.
pub fn job_cancelled(job: &JobId) {
    info!(MESSAGE_ID = id::JOB_CANCELLED, PATCH_JOB = %job,
        "job {job} cancelled, nothing was changed");
}

/// A worker died in the middle of a job.
pub fn job_interrupted(job: &JobId, phase: &str) {
    warn!(MESSAGE_ID = id::JOB_INTERRUPTED, PATCH_JOB = %job, PATCH_PHASE = phase,
        "job {job} was interrupted while {phase}");
}

/// The package manager starts to change packages.
pub fn activation(job: &JobId, count: usize) {
    info!(MESSAGE_ID = id::ACTIVATION, PATCH_JOB = %job, PATCH_COUNT = count,
        "job {job} begins to change {count} packages; the list is on disk");
}

/// One package was changed.
pub fn package_changed(
    job: &JobId,
    package: &str,
    architecture: &str,
    from: Option<&str>,
    to: Option<&str>,
) {
    let (from, to) = (from.unwrap_or(""), to.unwrap_or(""));
    let what = match (from, to) {
        ("", to) => format!("installed {to}"),
        (from, "") => format!("removed {from}"),
        (from, to) => format!("{from} -> {to}"),
    };
    info!(MESSAGE_ID = id::PACKAGE_CHANGED, PATCH_JOB = %job, PATCH_PACKAGE = package,
        PATCH_ARCHITECTURE = architecture, PATCH_FROM = from, PATCH_TO = to,
        "{package}:{architecture} {what}");
}

/// One package has a newer version and stays.
pub fn package_kept_back(job: &JobId, package: &str, reason: &str) {
    let reason = plain(reason);
    info!(MESSAGE_ID = id::PACKAGE_KEPT_BACK, PATCH_JOB = %job, PATCH_PACKAGE = package,
        PATCH_REASON = %reason, "{package} is kept back: {reason}");
}

/// A download failed; refresh, and once more.
pub fn retry(job: &JobId, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::RETRY, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} refreshes and tries once more: {why}");
}

/// Another package manager is at work.
pub fn waiting(job: Option<&JobId>, what: &str) {
    let what = plain(what);
    info!(MESSAGE_ID = id::WAITING, PATCH_JOB = job.map(JobId::as_str), PATCH_REASON = %what,
        "waiting: {what}");
}

/// What hangs, where it could be told.
#[derive(Debug, Clone, Copy)]
pub struct Stuck<'a> {
    /// The package whose script it is.
    pub package: Option<&'a str>,
    /// The script.
    pub script: Option<&'a str>,
    /// Its process.
    pub pid: Option<u32>,
    /// The command line of what it waits for.
    pub command: Option<&'a str>,
}

/// The package manager reports nothing for too long; `text` says what hangs.
pub fn stuck(job: &JobId, what: &Stuck<'_>, seconds: u64, text: &str) {
    let text = plain(text);
    let Stuck {
        package,
        script,
        pid,
        command,
    } = what;
    warn!(MESSAGE_ID = id::STUCK, PATCH_JOB = %job, PATCH_PACKAGE = package, PATCH_SCRIPT = script,
        PATCH_PID = pid, PATCH_COMMAND = command, PATCH_SECONDS = seconds,
        "job {job} does not go on: {text}");
}

/// Something that is not a valid request was refused.
pub fn request_refused(what: &str, why: &str) {
    let (what, why) = (plain(what), plain(why));
    error!(MESSAGE_ID = id::REQUEST_REFUSED, PATCH_ERROR = %why, "{what} refused: {why}");
}

/// A state file could not be used.
pub fn state_unusable(path: &Path, why: &str) {
    let why = plain(why);
    let path = path.display();
    warn!(MESSAGE_ID = id::STATE_UNUSABLE, PATCH_FILE = %path, PATCH_ERROR = %why,
        "'{path}' cannot be used and counts as missing: {why}");
}

/// The package database is not in order.
pub fn database_problem(job: &JobId, problem: &str) {
    let problem = plain(problem);
    warn!(MESSAGE_ID = id::DATABASE_PROBLEM, PATCH_JOB = %job, PATCH_ERROR = %problem, "{problem}");
}

/// The package manager was killed in the middle of its work, ours or somebody else's.
pub fn database_interrupted(job: &JobId) {
    warn!(MESSAGE_ID = id::DATABASE_INTERRUPTED, PATCH_JOB = %job,
        "the package manager was interrupted while it changed packages; repairing what it left");
}

/// It is in order again.
pub fn database_repaired(job: &JobId) {
    info!(MESSAGE_ID = id::DATABASE_REPAIRED, PATCH_JOB = %job,
        "the package database is in order again");
}

/// What is pending was downloaded ahead.
pub fn staged(count: usize) {
    info!(
        MESSAGE_ID = id::STAGED,
        PATCH_COUNT = count,
        "{count} pending packages are downloaded; an update only has to install them"
    );
}

/// Failed units of ours were started again.
pub fn units_healed(units: &[String]) {
    let units = units.join(" ");
    warn!(MESSAGE_ID = id::UNITS_HEALED, PATCH_UNITS = %units, "started again after a failure: {units}");
}

/// A job waits for the network.
pub fn job_deferred(job: &JobId, why: &str) {
    let why = plain(why);
    info!(MESSAGE_ID = id::JOB_DEFERRED, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} waits for the network: {why}");
}

/// A job's preconditions no longer hold.
pub fn job_conflict(job: &JobId, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::JOB_CONFLICT, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} is in conflict, nothing was changed: {why}");
}

/// Something was looked at after an update.
pub fn checked(job: &JobId, kind: &str, name: &str, required: bool, passed: bool, message: &str) {
    let (name, text) = (plain(name), plain(message));
    let result = match (passed, required) {
        (true, _) => "passed",
        (false, true) => "failed",
        (false, false) => "warned",
    };
    if passed {
        info!(MESSAGE_ID = id::CHECKED, PATCH_JOB = %job, PATCH_KIND = kind, PATCH_CHECK = %name,
            PATCH_RESULT = result, PATCH_OUTPUT = %text, "check {kind} {name} {result}: {text}");
    } else {
        warn!(MESSAGE_ID = id::CHECKED, PATCH_JOB = %job, PATCH_KIND = kind, PATCH_CHECK = %name,
            PATCH_RESULT = result, PATCH_OUTPUT = %text, "check {kind} {name} {result}: {text}");
    }
}

/// An update is being undone; `sources` by package.
pub fn rollback_started(
    job: &JobId,
    why: &str,
    sources: &std::collections::BTreeMap<String, String>,
) {
    let why = plain(why);
    let count = sources.len();
    let shown: Vec<String> = sources
        .iter()
        .map(|(key, source)| format!("{key}={source}"))
        .collect();
    let shown = shown.join(" ");
    warn!(MESSAGE_ID = id::ROLLBACK_STARTED, PATCH_JOB = %job, PATCH_ERROR = %why, PATCH_COUNT = count,
        PATCH_SOURCES = %shown, "job {job} is rolled back, {count} packages: {why}");
}

/// An update was undone.
pub fn rolled_back(job: &JobId, count: usize, as_before: bool, error: Option<&str>) {
    let why = plain(error.unwrap_or_default());
    if as_before {
        warn!(MESSAGE_ID = id::ROLLED_BACK, PATCH_JOB = %job, PATCH_COUNT = count, PATCH_AS_BEFORE = 1,
            "job {job} was rolled back, the host is as it was before");
    } else {
        error!(MESSAGE_ID = id::ROLLED_BACK, PATCH_JOB = %job, PATCH_COUNT = count, PATCH_AS_BEFORE = 0,
            PATCH_ERROR = %why, "job {job} was rolled back, but the host is not as it was before: {why}");
    }
}

/// An update could not be undone.
pub fn rollback_failed(job: &JobId, why: &str) {
    let why = plain(why);
    error!(MESSAGE_ID = id::ROLLBACK_FAILED, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} could not be rolled back: {why}");
}

/// What was undone is not offered again.
pub fn blocked(job: &JobId, packages: &str) {
    let packages = plain(packages);
    warn!(MESSAGE_ID = id::BLOCKED, PATCH_JOB = %job, PATCH_PACKAGES = %packages,
        "not offered again until there is a newer version: {packages}");
}

/// What was undone is offered again.
pub fn unblocked(job: &JobId, why: &str) {
    let why = plain(why);
    info!(MESSAGE_ID = id::UNBLOCKED, PATCH_JOB = %job, PATCH_REASON = %why,
        "what job {job} rolled back is offered again: {why}");
}

/// A job has something to tell.
pub fn job_note(job: &JobId, note: &str) {
    let note = plain(note);
    warn!(MESSAGE_ID = id::JOB_NOTE, PATCH_JOB = %job, "{note}");
}

/// A reboot of the host was asked for.
pub fn reboot_scheduled(job: Option<&JobId>, at: DateTime<Utc>, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::REBOOT_SCHEDULED, PATCH_JOB = job.map(JobId::as_str),
        PATCH_TIME = %at.to_rfc3339(), PATCH_REASON = %why,
        "the host reboots at {}: {why}", at.to_rfc3339_opts(SecondsFormat::Secs, true));
}

/// A reboot was to follow and could not be asked for.
pub fn reboot_refused(job: Option<&JobId>, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::REBOOT_REFUSED, PATCH_JOB = job.map(JobId::as_str), PATCH_ERROR = %why,
        "the reboot that was to follow could not be asked for: {why}");
}

/// A reboot was taken back.
pub fn reboot_cancelled() {
    info!(
        MESSAGE_ID = id::REBOOT_CANCELLED,
        "the reboot was cancelled"
    );
}

/// A service still runs what an update has replaced.
pub fn service_outdated(job: &JobId, unit: &str, file: &str) {
    let (unit, file) = (plain(unit), plain(file));
    info!(MESSAGE_ID = id::SERVICE_OUTDATED, PATCH_JOB = %job, PATCH_UNIT = %unit, PATCH_FILE = %file,
        "{unit} still runs '{file}' as it was before the update");
}

/// A service was restarted because it ran what an update has replaced.
pub fn service_restarted(job: &JobId, unit: &str) {
    let unit = plain(unit);
    info!(MESSAGE_ID = id::SERVICE_RESTARTED, PATCH_JOB = %job, PATCH_UNIT = %unit,
        "{unit} was restarted, because it ran replaced files");
}

/// Something is wrong that somebody should know.
pub fn alert_raised(key: &str, text: &str, job: Option<&JobId>) {
    let text = plain(text);
    warn!(MESSAGE_ID = id::ALERT_RAISED, PATCH_ALERT = key, PATCH_ALERT_STATE = "raised",
        PATCH_JOB = job.map(JobId::as_str), PATCH_ERROR = %text, "alert {key}: {text}");
}

/// What an alert was raised for is over.
pub fn alert_resolved(key: &str, text: &str, job: Option<&JobId>) {
    let text = plain(text);
    warn!(MESSAGE_ID = id::ALERT_RESOLVED, PATCH_ALERT = key, PATCH_ALERT_STATE = "resolved",
        PATCH_JOB = job.map(JobId::as_str), PATCH_ERROR = %text,
        "alert {key} is resolved; it was: {text}");
}

/// A program of the administrator has written a line.
pub fn hook_output(hook: &Path, line: &str) {
    let (hook, line) = (hook.display(), plain(line));
    info!(MESSAGE_ID = id::HOOK_OUTPUT, PATCH_HOOK = %hook, "{hook}: {line}");
}

/// A program of the administrator could not be run, or failed.
pub fn hook_failed(hook: &Path, why: &str) {
    let (hook, why) = (hook.display(), plain(why));
    warn!(MESSAGE_ID = id::HOOK_FAILED, PATCH_HOOK = %hook, PATCH_ERROR = %why,
        "the hook '{hook}' failed: {why}");
}

/// Writes the messages, without their fields, to standard error.
struct Terminal;

impl<S: Subscriber> Layer<S> for Terminal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let mark = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        // a terminal that is gone, or a pipe that was closed, must not end a running transaction
        let _ = writeln!(std::io::stderr(), "{mark}{}", plain(&message.0));
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_a_terminal() {
        assert_eq!(plain("a\x1b[31mb\nc\u{202e}d\u{061c}e"), "a [31mb c d e");
        assert_eq!(plain(&"x".repeat(5000)).len(), 2000);
    }

    #[test]
    fn every_id_is_explained_by_the_catalog() {
        let catalog = include_str!("../units/catalog/linux-patch-api.catalog");
        let explained: Vec<&str> = catalog
            .lines()
            .filter_map(|line| line.strip_prefix("-- "))
            .collect();
        let source = include_str!("journal.rs");
        let ids: Vec<&str> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix("pub const ")?.split('"').nth(1))
            .filter(|id| id.len() == 32)
            .collect();
        assert!(ids.len() > 10);
        for id in &ids {
            assert_eq!(explained.iter().filter(|e| e == &id).count(), 1, "{id}");
        }
        assert_eq!(
            explained.len(),
            ids.len(),
            "the catalog explains ids that nothing sends"
        );
    }
}
