//! Events about what it takes to bring a former version back, besides the package manager.

use tracing::{info, warn};

use super::{id, plain};
use crate::request::JobId;

/// How many files a message names.
const NAMED: usize = 3;

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
