//! What a running apt prints, and how it ended.

use std::path::Path;

use anyhow::Result;

use super::{locks, simulate, status, words};
use crate::exec::{ExitReason, Line, OutputHandler, Program};
use crate::package::credentials::redacted;
use crate::package::{Observer, Report, TransactionEnd, lock};

/// The most error lines that a job's error quotes.
const QUOTED: usize = 8;

/// What a run said of itself.
pub struct AptOutcome {
    pub ended: TransactionEnd,
    pub kept: Vec<simulate::KeptPackage>,
    pub notes: Vec<String>,
    /// Whether a package did not get a file because another one had it.
    pub displaced: bool,
}

/// Runs apt once no other process holds a lock. Those of dpkg, in `dpkg`, are looked at before, and are not for apt to
/// wait for: now and then it does so without a word (FACTS 19), as whether it speaks hangs on
/// `OpProgress::MajorChange`, which nothing has set (apt-pkg/contrib/progress.cc).
pub fn supervised(
    program: &Program,
    dpkg: &Path,
    observer: &mut dyn Observer,
) -> Result<AptOutcome> {
    let outcome = lock::retry(observer, |observer, is_last| {
        if !is_last && let Some(holder) = locks::holder(dpkg)? {
            return Ok(Err(holder));
        }
        Ok(match once(program, observer)? {
            (_, Some(holder)) if !is_last => Err(holder),
            (outcome, _) => Ok(outcome),
        })
    })?;
    Ok(outcome.unwrap_or_else(|| AptOutcome {
        ended: TransactionEnd::Stopped,
        kept: Vec::new(),
        notes: Vec::new(),
        displaced: false,
    }))
}

/// One run of apt, and who holds the lock that ended it.
fn once(program: &Program, observer: &mut dyn Observer) -> Result<(AptOutcome, Option<String>)> {
    let mut run = AptRun::new(observer);
    let exit_reason = program.run(&mut run)?.exit_reason;
    let holder = run.lock_holder();
    Ok((run.finish(exit_reason), holder))
}

/// What dpkg says, and drops the file: nothing is wrong with that unless the other package lets go of it in the
/// same run (src/archives.c of dpkg 1.22, `tarobject`).
const REPLACED_BY: &str = "Replaced by files in installed package";

struct AptRun<'a> {
    observer: &'a mut dyn Observer,
    listing: simulate::SimulationReader,
    words: words::ErrorReader,
    notes: Vec<String>,
    /// Whether a package did not get a file because another one had it.
    displaced: bool,
}

impl<'a> AptRun<'a> {
    fn new(observer: &'a mut dyn Observer) -> Self {
        Self {
            observer,
            listing: simulate::SimulationReader::default(),
            words: words::ErrorReader::default(),
            notes: Vec::new(),
            displaced: false,
        }
    }

    fn output(&mut self, text: &str) {
        let text = redacted(text);
        self.words.line(&text);
        if let Some(rest) = text.strip_prefix("Configuration file '") {
            let file = rest.split('\'').next().unwrap_or(rest);
            self.notes.push(format!(
                "{file} was changed here and is kept; the new version is {file}.dpkg-dist",
            ));
        }
        self.displaced |= text.starts_with(REPLACED_BY);
        // only the headings are of use here; a line of another form is no error in a real run
        let _ = self.listing.line(&text);
        self.observer.report(Report::Output(text));
    }

    /// Who holds a lock that apt takes before it begins.
    fn lock_holder(&self) -> Option<String> {
        let lock = |error: &&String| {
            error.starts_with("Could not get lock")
                && ["/archives/lock", "/lock-frontend"]
                    .iter()
                    .any(|lock| error.contains(lock))
        };
        self.words.errors().iter().find(lock).cloned()
    }

    fn finish(self, exit_reason: ExitReason) -> AptOutcome {
        AptOutcome {
            ended: ended(exit_reason, self.words.errors()),
            kept: self.listing.finish().kept,
            notes: self.notes,
            displaced: self.displaced,
        }
    }
}

impl OutputHandler for AptRun<'_> {
    fn line(&mut self, line: Line<'_>) {
        match line {
            Line::Output(text) | Line::Error(text) => self.output(text),
            Line::Status(text) => {
                if let Some(report) = status::parse(text) {
                    self.observer.report(report);
                }
            }
        }
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}

fn ended(exit_reason: ExitReason, errors: &[String]) -> TransactionEnd {
    let words = errors
        .iter()
        .take(QUOTED)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    let words = |how: &str| {
        if words.is_empty() {
            how.to_owned()
        } else {
            words.clone()
        }
    };
    match exit_reason {
        ExitReason::Exited(0) => TransactionEnd::Done,
        ExitReason::Stopped => TransactionEnd::Stopped,
        ExitReason::Exited(_) if errors.iter().any(|error| is_fetch_error(error)) => {
            let fetch = errors
                .iter()
                .find(|error| error.starts_with("Failed to fetch"));
            TransactionEnd::FetchFailed(
                fetch.cloned().unwrap_or_else(|| words("a download failed")),
            )
        }
        ExitReason::Exited(_) if errors.iter().any(|error| is_interruption(error)) => {
            TransactionEnd::Interrupted(words("dpkg was killed"))
        }
        ExitReason::Exited(code) => {
            TransactionEnd::Failed(words(&format!("apt-get exited with {code}")))
        }
        ExitReason::Killed(signal) => {
            TransactionEnd::Interrupted(words(&format!("apt-get was killed by signal {signal}")))
        }
        ExitReason::TimedOut => TransactionEnd::Failed(words("apt-get took too long")),
    }
}

/// dpkg did not come to its end (apt-pkg/deb/dpkgpm.cc); when it did, and failed, apt says `returned an
/// error code`.
fn is_interruption(error: &str) -> bool {
    error.starts_with("Sub-process")
        && [
            "exited unexpectedly",
            "received signal",
            "received a segmentation fault",
        ]
        .iter()
        .any(|text| error.contains(text))
}

/// A download failed: texts of apt 2.6 and 3.0 for 404, a hash or size that does not match, a mirror
/// that is not there, an archive that is missing.
fn is_fetch_error(error: &str) -> bool {
    [
        "Failed to fetch",
        "Unable to fetch",
        "Hash Sum mismatch",
        "File has unexpected size",
    ]
    .iter()
    .any(|text| error.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deaf;

    impl Observer for Deaf {
        fn report(&mut self, _: Report) {}

        fn stop(&mut self) -> bool {
            false
        }
    }

    #[test]
    fn why_the_gate_stayed_shut_is_said_first() {
        let mut deaf = Deaf;
        let mut run = AptRun::new(&mut deaf);
        run.output("patchctl: failed to write 'x.intent': Input/output error (os error 5)");
        run.output("E: Sub-process /x/gate run gate --job=1 returned an error code (1)");
        let TransactionEnd::Failed(words) = run.finish(ExitReason::Exited(100)).ended else {
            panic!("it did not fail");
        };
        assert!(words.starts_with("failed to write 'x.intent'"), "{words}");
    }

    #[test]
    fn endings_are_told_apart() {
        let fetch =
            "Failed to fetch http://x/demo.deb  404  Not Found [IP: 127.0.0.1 80]".to_owned();
        let more = "Unable to fetch some archives, maybe run apt-get update?".to_owned();
        assert_eq!(
            ended(ExitReason::Exited(100), &[fetch.clone(), more]),
            TransactionEnd::FetchFailed(fetch.clone())
        );
        assert_eq!(ended(ExitReason::Exited(0), &[]), TransactionEnd::Done);
        assert_eq!(
            ended(ExitReason::Exited(100), &[]),
            TransactionEnd::Failed("apt-get exited with 100".into())
        );
        assert_eq!(
            ended(ExitReason::Stopped, &[fetch]),
            TransactionEnd::Stopped
        );
        for (words, interrupted) in [
            ("Sub-process /usr/bin/dpkg exited unexpectedly", true),
            ("Sub-process /usr/bin/dpkg received signal 9.", true),
            (
                "Sub-process /usr/bin/dpkg returned an error code (1)",
                false,
            ),
        ] {
            let ended = ended(ExitReason::Exited(100), &[words.to_owned()]);
            assert_eq!(
                matches!(ended, TransactionEnd::Interrupted(_)),
                interrupted,
                "{words}"
            );
        }
        assert_eq!(
            ended(ExitReason::Killed(9), &[]),
            TransactionEnd::Interrupted("apt-get was killed by signal 9".into())
        );
    }
}
