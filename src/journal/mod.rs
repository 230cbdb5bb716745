//! Every event of this program: a `MESSAGE_ID`, fields, and one function each.
//!
//! The catalog (`units/catalog/`) explains each id; a test holds the two together. Fields of ours
//! begin with `PATCH_`. Text from package managers and maintainer scripts is hostile: control
//! characters are taken out before it gets here (see [`plain`]).

pub mod id;
mod output;
mod reboot;
mod rollback;

pub use output::init;
pub use reboot::{
    manager_reexecuted, reboot_cancelled, reboot_postponed, reboot_refused, reboot_scheduled,
    service_outdated, service_restarted,
};
pub use rollback::{
    blocked, cannot_go_back, files_restored, rollback_below, rollback_failed, rollback_started,
    rolled_back, unblocked,
};

use std::path::Path;

use tracing::{error, info, warn};

use crate::request::{JobId, Requester, Target};

/// What `journalctl -t` finds.
pub const IDENTIFIER: &str = "patchctl";

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

/// Something failed during a refresh that keeps no update back.
pub fn refresh_note(note: &str) {
    let note = plain(note);
    warn!(MESSAGE_ID = id::REFRESH_NOTE, PATCH_NOTE = %note, "refresh: {note}");
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
    let login = requester
        .login_uid
        .map(|uid| uid.to_string())
        .unwrap_or_default();
    let (door, session) = (
        &requester.door,
        requester.session.as_deref().unwrap_or_default(),
    );
    info!(MESSAGE_ID = id::JOB_STARTED, PATCH_JOB = %job, PATCH_KIND = kind,
        PATCH_TARGET = %target, PATCH_DOOR = %door, PATCH_UID = %uid,
        PATCH_LOGIN_UID = %login, PATCH_SESSION = %session,
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
pub fn package_changed(job: &JobId, changed: &PackageChange<'_>) {
    let PackageChange {
        package,
        architecture,
        former_architecture,
        ..
    } = *changed;
    let (from, to) = (changed.from.unwrap_or(""), changed.to.unwrap_or(""));
    let [from_build, to_build] = changed.builds.unwrap_or_default();
    let what = match (from, to) {
        ("", to) => format!("installed {to}"),
        (from, "") => format!("removed {from}"),
        (from, _) if changed.builds.is_some() => {
            let build = |build: Option<&str>| build.unwrap_or("unknown").to_owned();
            format!(
                "{from} rebuilt ({} -> {})",
                build(from_build),
                build(to_build)
            )
        }
        (from, to) => format!("{from} -> {to}"),
    };
    let was = former_architecture.map_or_else(String::new, |former| format!(" (was {former})"));
    info!(MESSAGE_ID = id::PACKAGE_CHANGED, PATCH_JOB = %job, PATCH_PACKAGE = package,
        PATCH_ARCHITECTURE = architecture, PATCH_FORMER_ARCHITECTURE = former_architecture,
        PATCH_FROM = from, PATCH_TO = to, PATCH_FROM_BUILD = from_build, PATCH_TO_BUILD = to_build,
        "{package}:{architecture}{was} {what}");
}

/// What was changed of one package.
#[derive(Debug, Clone, Copy)]
pub struct PackageChange<'a> {
    /// The package's name.
    pub package: &'a str,
    /// Its architecture.
    pub architecture: &'a str,
    /// That before, where it was another one.
    pub former_architecture: Option<&'a str>,
    /// The version before; none for a new package.
    pub from: Option<&'a str>,
    /// The version after; none for a removal.
    pub to: Option<&'a str>,
    /// The checksums of the two builds, where both are of the same version.
    pub builds: Option<[Option<&'a str>; 2]>,
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

/// The script that hangs, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct StalledScript<'a> {
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
pub fn stuck(job: &JobId, what: &StalledScript<'_>, seconds: u64, text: &str) {
    let text = plain(text);
    let StalledScript {
        package,
        script,
        pid,
        command,
    } = what;
    warn!(MESSAGE_ID = id::STUCK, PATCH_JOB = %job, PATCH_PACKAGE = package, PATCH_SCRIPT = script,
        PATCH_PID = pid, PATCH_COMMAND = command, PATCH_SECONDS = seconds,
        "job {job} makes no progress: {text}");
}

/// An invalid request was refused.
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

/// A package manager was killed in the middle of its work, started by the worker or by another program.
pub fn database_interrupted(job: &JobId) {
    warn!(MESSAGE_ID = id::DATABASE_INTERRUPTED, PATCH_JOB = %job,
        "the package manager was interrupted while it changed packages; repairing what it left");
}

/// The package database is in order again.
pub fn database_repaired(job: &JobId) {
    info!(MESSAGE_ID = id::DATABASE_REPAIRED, PATCH_JOB = %job,
        "the package database is in order again");
}

/// The pending updates were downloaded ahead.
pub fn staged(count: usize) {
    info!(
        MESSAGE_ID = id::STAGED,
        PATCH_COUNT = count,
        "{count} pending packages are downloaded; an update only has to install them"
    );
}

/// Units of ours that had failed or were stopped were started again.
pub fn units_healed(units: &[String]) {
    let units = units.join(" ");
    warn!(MESSAGE_ID = id::UNITS_HEALED, PATCH_UNITS = %units, "started again: {units}");
}

/// A job waits for the network.
pub fn job_deferred(job: &JobId, why: &str) {
    let why = plain(why);
    info!(MESSAGE_ID = id::JOB_DEFERRED, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} waits for the network: {why}");
}

/// A job waits for a shutdown that another program or a person has scheduled.
pub fn job_awaits_shutdown(job: &JobId, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::JOB_AWAITS_SHUTDOWN, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} waits: {why}");
}

/// A job's preconditions no longer hold.
pub fn job_conflict(job: &JobId, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::JOB_CONFLICT, PATCH_JOB = %job, PATCH_ERROR = %why,
        "job {job} is in conflict, nothing was changed: {why}");
}

/// A check after an update has a result.
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

/// A note on a job for the administrator.
pub fn job_note(job: &JobId, note: &str) {
    let note = plain(note);
    warn!(MESSAGE_ID = id::JOB_NOTE, PATCH_JOB = %job, "{note}");
}

/// An alert was raised.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_a_terminal() {
        assert_eq!(plain("a\x1b[31mb\nc\u{202e}d\u{061c}e"), "a [31mb c d e");
        assert_eq!(plain(&"x".repeat(5000)).len(), 2000);
    }
}
