//! What pacman's words of a failure mean.

use crate::exec::ExitReason;
use crate::package::TransactionEnd;

/// The most lines that a job's error quotes.
const QUOTED: usize = 8;

/// What pacman 7.0 says before it fetches where the kernel has no Landlock, and goes on (FACTS 55).
pub fn is_harmless(error: &str) -> bool {
    error.starts_with("restricting filesystem access failed")
}

/// Lines that belong to the error before them: dependencies (`:: installing a breaks dependency …`), the
/// files in a conflict (`a: /x exists in filesystem`).
pub fn explains(text: &str) -> bool {
    text.starts_with(":: ")
        || text.contains(" exists in filesystem")
        || text.contains(" exists in both ")
}

pub fn ended(exit_reason: ExitReason, errors: &[String]) -> TransactionEnd {
    let words = |how: String| match errors.iter().take(QUOTED).cloned().collect::<Vec<_>>() {
        words if words.is_empty() => how,
        words => words.join("; "),
    };
    match exit_reason {
        ExitReason::Exited(0) => TransactionEnd::Done,
        ExitReason::Stopped => TransactionEnd::Stopped,
        ExitReason::Exited(_) if is_fetch_failure(errors) => {
            let first = errors
                .iter()
                .find(|error| error.starts_with("failed retrieving file"));
            TransactionEnd::FetchFailed(
                first
                    .cloned()
                    .unwrap_or_else(|| words("a download failed".to_owned())),
            )
        }
        ExitReason::Exited(code) => {
            TransactionEnd::Failed(words(format!("pacman exited with {code}")))
        }
        ExitReason::Killed(signal) => {
            TransactionEnd::Interrupted(words(format!("pacman was killed by signal {signal}")))
        }
        ExitReason::TimedOut => TransactionEnd::Failed(words("pacman took too long".to_owned())),
    }
}

/// Whether it ended because something could not be fetched. What it failed to fetch from one mirror it may
/// have had from the next, and then have ended for another reason: its last words tell.
fn is_fetch_failure(errors: &[String]) -> bool {
    let last = |error: &&String| error.starts_with("failed to commit transaction");
    match errors.iter().rfind(last) {
        // of a download that none of its mirrors had (FACTS 56)
        Some(last) if !last.ends_with("(unexpected error)") => is_fetch_error(last),
        _ => errors.iter().any(|error| is_fetch_error(error)),
    }
}

/// A download failed: texts of pacman 7.0 for 404, a mirror that is not there, a file that is not what the
/// database says it is (pacman has deleted it then).
fn is_fetch_error(error: &str) -> bool {
    [
        "failed retrieving file",
        "failed to retrieve some files",
        "failed to synchronize",
        "download library error",
        "invalid or corrupted package",
        " is corrupted (",
    ]
    .iter()
    .any(|text| error.contains(text))
}

/// Whether the words of a failure mean that the network is away (texts of libcurl).
pub fn is_network_error(error: &str) -> bool {
    [
        "Could not resolve host",
        "Could not connect to server",
        "Couldn't connect to server",
        "Failed to connect to",
        "Network is unreachable",
        "No route to host",
        "Connection timed out",
        "Operation too slow",
        "Timeout was reached",
    ]
    .iter()
    .any(|text| error.contains(text))
}
