//! What a running apk prints, and how it ended.

use anyhow::Result;

use super::listing::step;
use crate::package::credentials::redacted;

use crate::exec::{ExitReason, Line, OutputHandler, Program};
use crate::package::{Observer, Report, TransactionEnd};

/// The most lines that a job's error quotes.
const QUOTED: usize = 8;

/// Runs apk to its end; how that was. Ended by us only where `may_stop`.
pub fn run(
    program: &Program,
    may_stop: bool,
    observer: &mut dyn Observer,
) -> Result<TransactionEnd> {
    let mut run = ApkRun {
        observer,
        errors: Vec::new(),
        may_stop,
    };
    let exit_reason = program.run(&mut run)?.exit_reason;
    Ok(ended(exit_reason, &run.errors))
}

struct ApkRun<'a> {
    observer: &'a mut dyn Observer,
    errors: Vec<String>,
    may_stop: bool,
}

impl OutputHandler for ApkRun<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        let text = redacted(text);
        if let Some(error) = text.strip_prefix("ERROR: ") {
            self.errors.push(error.to_owned());
        } else if text.starts_with("  ") && !self.errors.is_empty() {
            // what an error is about stands in the lines after it
            self.errors.push(text.trim().to_owned());
        } else if let Some(progress) = progress(&text) {
            self.observer.report(progress);
        }
        self.observer.report(Report::Output(text));
    }

    fn stop(&mut self) -> bool {
        let asked = self.observer.stop();
        asked && self.may_stop
    }
}

/// How far `(2/3) Upgrading demo (…)` or `(2/3) Downloading demo-1.1-r0` is.
fn progress(line: &str) -> Option<Report> {
    let (count, rest) = line.trim_start().strip_prefix('(')?.split_once(") ")?;
    let (done, total) = count.split_once('/')?;
    let (done, total): (u32, u32) = (done.trim().parse().ok()?, total.parse().ok()?);
    let percent = (done.saturating_sub(1).saturating_mul(100) / total.max(1)).min(99);
    if rest.starts_with("Downloading ") {
        return Some(Report::Downloading { percent });
    }
    let action = format!("changing {}", step(line).ok()??.package);
    Some(Report::Installing { percent, action })
}

/// What the ending means.
pub fn ended(exit_reason: ExitReason, errors: &[String]) -> TransactionEnd {
    let words = |how: String| {
        let words: Vec<String> = errors.iter().take(QUOTED).cloned().collect();
        if words.is_empty() {
            how
        } else {
            words.join("; ")
        }
    };
    match exit_reason {
        ExitReason::Exited(0) => TransactionEnd::Done,
        ExitReason::Stopped => TransactionEnd::Stopped,
        ExitReason::Exited(_) if errors.iter().any(|error| is_fetch_error(error)) => {
            let first = errors.iter().find(|error| is_fetch_error(error));
            TransactionEnd::FetchFailed(first.cloned().unwrap_or_default())
        }
        ExitReason::Exited(code) => {
            TransactionEnd::Failed(words(format!("apk exited with {code}")))
        }
        ExitReason::Killed(signal) => {
            TransactionEnd::Interrupted(words(format!("apk was killed by signal {signal}")))
        }
        ExitReason::TimedOut => TransactionEnd::Failed(words("apk took too long".to_owned())),
    }
}

/// A download failed: texts of apk 2.14 and 3.0 (`apk_error_str`, libfetch).
fn is_fetch_error(error: &str) -> bool {
    is_network_error(error)
        || [
            "HTTP 4",
            "HTTP 5",
            "package mentioned in index not found",
            "remote server returned error",
            "unexpected end of file",
            "file integrity",
            "BAD archive",
            "BAD signature",
        ]
        .iter()
        .any(|text| error.contains(text))
}

/// Whether the words of a failure mean that the network is away.
pub fn is_network_error(error: &str) -> bool {
    [
        "DNS",
        "could not connect to server",
        "connection refused",
        "Connection refused",
        "connection aborted",
        "network error",
        "network connection",
        "Network unreachable",
        "operation timed out",
        "Operation timed out",
        "temporary error",
        "try again later",
    ]
    .iter()
    .any(|text| error.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_apart() {
        let gone = "demo-1.1-r0: HTTP 404: Not Found".to_owned();
        let ended_with = |code, errors: &[String]| ended(ExitReason::Exited(code), errors);
        assert_eq!(
            ended_with(99, std::slice::from_ref(&gone)),
            TransactionEnd::FetchFailed(gone)
        );
        // it exits with 99 when it cannot take its lock, and for much else
        let locked = "Unable to lock database: Resource temporarily unavailable".to_owned();
        assert_eq!(
            ended_with(99, std::slice::from_ref(&locked)),
            TransactionEnd::Failed(locked)
        );
        let script = "demo-1.1-r0.post-upgrade: script exited with error 1".to_owned();
        assert_eq!(
            ended_with(1, std::slice::from_ref(&script)),
            TransactionEnd::Failed(script)
        );
        assert_eq!(
            ended_with(2, &[]),
            TransactionEnd::Failed("apk exited with 2".into())
        );
    }

    #[test]
    fn progress_is_counted() {
        let line = "(3/4) Upgrading demo (1.0-r0 -> 1.1-r0)";
        let action = "changing demo".to_owned();
        assert_eq!(
            progress(line),
            Some(Report::Installing {
                percent: 50,
                action
            })
        );
        assert_eq!(
            progress("(1/2) Downloading demo-1.1-r0"),
            Some(Report::Downloading { percent: 0 })
        );
        assert_eq!(progress("OK: 1 MiB in 2 packages"), None);
    }
}
