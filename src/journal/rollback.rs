//! Events of a rollback, and of the updates that are not offered again after it.

use tracing::{error, info, warn};

use super::{id, plain};
use crate::request::JobId;

/// How many files a message names.
const NAMED: usize = 3;

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

/// An update was undone: whether the host is as it was before, and what came of comparing it, in a sentence.
pub fn rolled_back(
    job: &JobId,
    count: usize,
    (as_before, summary): (bool, &str),
    error: Option<&str>,
) {
    let (why, summary) = (plain(error.unwrap_or_default()), plain(summary));
    let as_before = u8::from(as_before);
    if error.is_none() {
        warn!(MESSAGE_ID = id::ROLLED_BACK, PATCH_JOB = %job, PATCH_COUNT = count,
            PATCH_AS_BEFORE = as_before, "job {job} was rolled back: {summary}");
    } else {
        error!(MESSAGE_ID = id::ROLLED_BACK, PATCH_JOB = %job, PATCH_COUNT = count,
            PATCH_AS_BEFORE = as_before, PATCH_ERROR = %why,
            "job {job} was rolled back, but {summary}: {why}");
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
        "what was rolled back in job {job} is offered again: {why}");
}

/// Former versions of these packages are nowhere to be had, for one reason; each named with its version.
pub fn cannot_go_back(job: &JobId, packages: &[String], why: &str) {
    let (count, why) = (packages.len(), plain(why));
    let named = packages.iter().take(NAMED).map(String::as_str);
    let mut named = plain(&named.collect::<Vec<_>>().join(", "));
    if count > NAMED {
        named = format!("{named} and {} more", count - NAMED);
    }
    info!(MESSAGE_ID = id::CANNOT_GO_BACK, PATCH_JOB = %job, PATCH_COUNT = count,
        PATCH_PACKAGES = %named, PATCH_REASON = %why,
        "job {job}: no rollback to the installed version of {named}: {why}");
}

/// The package manager could not undo an update, and the tool below it is used.
pub fn rollback_below(job: &JobId, tool: &str, why: &str) {
    let why = plain(why);
    warn!(MESSAGE_ID = id::ROLLBACK_BELOW, PATCH_JOB = %job, PATCH_TOOL = tool, PATCH_ERROR = %why,
        "job {job}: the package manager has not restored every former version ({why}); \
         trying {tool} alone");
}

/// Files of a package were missing or torn, and it was installed again; whether nothing is missing any more.
pub fn files_restored(
    job: &JobId,
    package: &str,
    architecture: &str,
    files: &[&str],
    is_whole: bool,
) {
    let count = files.len();
    let named = files.iter().take(NAMED).copied();
    let mut named = plain(&named.collect::<Vec<_>>().join(", "));
    if count > NAMED {
        named.push_str(", …");
    }
    let how = if is_whole {
        "nothing is missing now"
    } else {
        "files are still missing"
    };
    warn!(MESSAGE_ID = id::FILES_RESTORED, PATCH_JOB = %job, PATCH_PACKAGE = package,
        PATCH_ARCHITECTURE = architecture, PATCH_COUNT = count, PATCH_FILE = %named,
        "{package}:{architecture} lacked {count} of its files ({named}) and was installed again: {how}");
}
