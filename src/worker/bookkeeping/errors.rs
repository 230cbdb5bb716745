//! Errors that the floors above tell apart.

use crate::state::job::Job;

/// Why a request was not served.
pub const STOPPED: &str =
    "stopped while waiting for another worker; the request stays in the queue";

/// The host is going down. Nothing can be started any more (FACTS 62: a maintainer script that restarts its
/// service fails), and services end all around, so that neither repairing, nor judging, nor going back
/// would be fair. The job is left as an interrupted one is, and the next boot ends it.
#[derive(Debug)]
pub struct DeferredToNextBoot;

impl std::fmt::Display for DeferredToNextBoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the host is going down; the rest of the update is finished at the next boot")
    }
}

impl std::error::Error for DeferredToNextBoot {}

/// How the error of a job begins whose refresh failed.
const REFRESH_FAILED: &str = "refresh failed: ";

/// A refresh failed; the failure is in the journal.
#[derive(Debug)]
pub struct RefreshFailed {
    /// What the sources, or the package manager, said.
    pub why: String,
    /// Whether the network is away: a request that may wait for it does.
    pub offline: bool,
}

impl RefreshFailed {
    /// As the job for a refresh says it, which has ended.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let why = job.error.as_deref().unwrap_or("no reason is recorded");
        Self {
            why: why.strip_prefix(REFRESH_FAILED).unwrap_or(why).to_owned(),
            offline: false,
        }
    }
}

impl std::fmt::Display for RefreshFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{REFRESH_FAILED}{}", self.why)
    }
}

impl std::error::Error for RefreshFailed {}

/// The job waits, for a reason that came up after it had begun. Nothing is changed.
#[derive(Debug)]
pub struct Postponed(pub String);

impl std::fmt::Display for Postponed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Postponed {}
