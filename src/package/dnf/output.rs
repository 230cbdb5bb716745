//! What dnf and yum print while they work: progress, failures, the process that they wait for.

use crate::exec::{ExitReason, Line, OutputHandler};
use crate::package::rpm::resolution::Resolution;
use crate::package::rpm::transaction::ChangeOutcome;
use crate::package::rpm::{conffiles, repositories, scripts, words};
use crate::package::{Observer, PackageId, Report, TransactionEnd};

use super::{gate, table};

/// The most error lines that a job's error quotes.
const QUOTED: usize = 8;

/// Follows a run.
pub struct DnfRun<'a> {
    observer: &'a mut dyn Observer,
    table: table::TableReader,
    errors: Vec<String>,
    /// The lines below `Error:` belong to it.
    in_error: bool,
    waiting: String,
    changing: bool,
    gated: bool,
    /// Packages whose scripts failed.
    failures: Vec<(PackageId, String)>,
    /// Configuration files that were not merged.
    notes: Vec<String>,
}

/// What a run came to.
pub struct DnfOutcome {
    /// What it would do or did.
    pub resolved: Resolution,
    /// How it ended, whose scripts failed, and what was not merged.
    pub changed: ChangeOutcome,
    /// Whether dnf had loaded the gate.
    pub gated: bool,
}

impl<'a> DnfRun<'a> {
    pub fn new(observer: &'a mut dyn Observer) -> Self {
        Self {
            observer,
            table: table::TableReader::default(),
            errors: Vec::new(),
            in_error: false,
            waiting: String::new(),
            changing: false,
            gated: false,
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn output(&mut self, text: &str) {
        self.gated |= text == gate::LOADED;
        self.table.line(text);
        self.error(text);
        if let Some(failure) = scripts::failed(text) {
            self.failures.push(failure);
        }
        self.notes.extend(conffiles::note(text));
        self.changing |= text.starts_with("Running transaction") && !text.ends_with("test");
        if is_waiting(text) {
            if self.waiting != text {
                text.clone_into(&mut self.waiting);
                self.observer
                    .report(Report::Waiting(text.trim().to_owned()));
            }
        } else if let Some(report) = progress(text, self.changing) {
            self.observer.report(report);
        }
        self.observer
            .report(Report::Output(repositories::without_credentials(text)));
    }

    /// dnf 4 and yum begin with `Error:`; dnf 5 with `Failed to` or `Transaction failed`; what it heard of a
    /// download stands in lines of its own.
    fn error(&mut self, text: &str) {
        let begins = ["Error", "Failed to ", "Transaction failed", "Cannot "]
            .iter()
            .any(|beginning| text.starts_with(beginning))
            && !text.starts_with("Failed loading plugin")
            && !text.starts_with("Error in ");
        let heard = text.starts_with("[MIRROR]")
            || text.starts_with(">>> Status code")
            || is_about_a_signature(text);
        let continues =
            self.in_error && text.starts_with(' ') && progress(text, self.changing).is_none();
        if begins || heard || continues {
            let line = text.strip_prefix(">>> ").unwrap_or(text).trim();
            let line = line.strip_prefix("Error: ").unwrap_or(line).to_owned();
            if !self.errors.contains(&line) {
                self.errors.push(line);
            }
        }
        if let Some(words) = words::error(text).map(str::to_owned)
            && !self.errors.contains(&words)
        {
            self.errors.push(words);
        }
        self.in_error = begins || continues;
    }

    /// What it came to.
    pub fn finish(self, exit_reason: ExitReason) -> DnfOutcome {
        DnfOutcome {
            resolved: self.table.finish(),
            changed: ChangeOutcome {
                ended: ended(exit_reason, &self.errors),
                failures: self.failures,
                notes: self.notes,
            },
            gated: self.gated,
        }
    }
}

impl OutputHandler for DnfRun<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        self.output(text);
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}

fn ended(exit_reason: ExitReason, errors: &[String]) -> TransactionEnd {
    let words = |how: &str| {
        if errors.is_empty() {
            return how.to_owned();
        }
        let quoted: Vec<&str> = errors.iter().take(QUOTED).map(String::as_str).collect();
        quoted.join("; ")
    };
    match exit_reason {
        ExitReason::Exited(0) => TransactionEnd::Done,
        ExitReason::Stopped => TransactionEnd::Stopped,
        ExitReason::Exited(code) if errors.iter().any(|error| is_fetch_error(error)) => {
            TransactionEnd::FetchFailed(words(&format!("it exited with {code}")))
        }
        ExitReason::Exited(code) => {
            TransactionEnd::Failed(words(&format!("it exited with {code}")))
        }
        ExitReason::Killed(signal) => {
            TransactionEnd::Interrupted(format!("it was killed by signal {signal}; {}", words("")))
        }
        ExitReason::TimedOut => TransactionEnd::Failed(words("it took too long")),
    }
}

/// dnf 4.23 names the package above its `Error: GPG check FAILED` (its source, `dnf/base.py`); dnf 5.4 in a
/// line below `Transaction failed: Signature verification failed.`: `OpenPGP check for package
/// "demo-1.1-1.noarch" (…) from repo "lab" has failed: The package is not signed.`
fn is_about_a_signature(text: &str) -> bool {
    text.starts_with("Package ") && text.ends_with(" is not signed")
        || text.starts_with("Public key for ") && text.ends_with(" is not installed")
        || text.contains("PGP check for package ") && text.contains(" has failed")
}

/// Recorded with a package that answers 404, and with one that is not what the index says: dnf 4.23
/// `Error: Error downloading packages:`, `[MIRROR] x.rpm: Status code: 404 for http://…`; dnf 5.4 `Failed to
/// download packages`, `>>> Status code: 404 for http://…`, `Librepo error: Cannot download …`; yum 3.4
/// (its source, `yum/__init__.py`) `Error downloading packages:`.
fn is_fetch_error(error: &str) -> bool {
    [
        "Error downloading packages",
        "Failed to download",
        "Cannot download",
        "Status code: ",
        "Curl error",
        "No more mirrors to try",
    ]
    .iter()
    .any(|text| error.contains(text))
}

/// dnf 4 and yum wait for the process that holds a lock, dnf 5 for the lock, and rpm below them for its own
/// (texts of dnf 4.23, yum 3.4, dnf 5.4 and rpm 4.20).
pub fn is_waiting(text: &str) -> bool {
    let text = text.strip_prefix("warning: ").unwrap_or(text);
    [
        "Waiting for process with pid",
        "Another app is currently holding the yum lock",
        "Waiting for a lock on the system repository",
        "waiting for transaction lock",
    ]
    .iter()
    .any(|beginning| text.starts_with(beginning))
}

/// Progress of dnf 4 and yum, `(3/7): demo-1.2-1.noarch.rpm … kB` and `  Upgrading : demo-1.1-1.noarch 3/4`,
/// and of dnf 5, `[3/8] Upgrading needy-0:1.1-1.noarch 100% | …`.
fn progress(text: &str, changing: bool) -> Option<Report> {
    if let Some((count, rest)) = text.strip_prefix('(').and_then(|t| t.split_once("): ")) {
        let _ = rest;
        return Some(Report::Downloading {
            percent: share(count)?,
        });
    }
    if let Some((count, rest)) = text.strip_prefix('[').and_then(|t| t.split_once("] ")) {
        let percent = share(count)?;
        let words: Vec<&str> = rest
            .split_whitespace()
            .take_while(|w| !w.ends_with('%'))
            .collect();
        return Some(if changing {
            Report::Installing {
                percent,
                action: words.join(" "),
            }
        } else {
            Report::Downloading { percent }
        });
    }
    if !changing || !text.starts_with("  ") {
        return None;
    }
    let (verb, rest) = text.trim().split_once(':')?;
    let mut words = rest.split_whitespace().rev();
    let percent = share(words.next()?)?;
    let package = words.next().unwrap_or_default();
    Some(Report::Installing {
        percent,
        action: format!("{} {package}", verb.trim()).trim().to_owned(),
    })
}

/// `3/4` as a percentage.
fn share(text: &str) -> Option<u32> {
    let (done, all) = text.split_once('/')?;
    let (done, all): (u32, u32) = (done.trim().parse().ok()?, all.trim().parse().ok()?);
    (all > 0 && done <= all)
        .then(|| u32::try_from(u64::from(done) * 100 / u64::from(all)).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listener(Vec<Report>);

    impl Observer for Listener {
        fn report(&mut self, report: Report) {
            if !matches!(report, Report::Output(_)) {
                self.0.push(report);
            }
        }

        fn stop(&mut self) -> bool {
            false
        }
    }

    fn run(
        output: &str,
        exit_reason: ExitReason,
    ) -> (TransactionEnd, Vec<Report>, Vec<(PackageId, String)>) {
        let mut listener = Listener(Vec::new());
        let mut run = DnfRun::new(&mut listener);
        output.lines().for_each(|line| run.line(Line::Output(line)));
        let ChangeOutcome {
            ended, failures, ..
        } = run.finish(exit_reason).changed;
        (ended, listener.0, failures)
    }

    #[test]
    fn a_package_that_is_gone_is_a_fetch_error() {
        // dnf 4.23
        let (ended, _, _) = run(
            "Downloading Packages:\n\
            [MIRROR] demo-1.2-1.noarch.rpm: Status code: 404 for http://127.0.0.1:8080/repo/demo-1.2-1.noarch.rpm (IP: 127.0.0.1)\n\
            [FAILED] demo-1.2-1.noarch.rpm: No more mirrors to try - All mirrors were already tried without success\n\
            Error: Error downloading packages:\n  demo-1.2-1.noarch: Cannot download, all mirrors were already tried without success\n",
            ExitReason::Exited(1),
        );
        assert!(
            matches!(&ended, TransactionEnd::FetchFailed(why) if why.contains("404")),
            "{ended:?}"
        );
        // dnf 5.4
        let (ended, _, _) = run(
            "[1/1] tool-2:1.2-1.noarch               100% |  29.7 KiB/s | 335.0   B |  00m00s\n\
            >>> Status code: 404 for http://127.0.0.1:8080/repo/tool-1.2-1.noarch.rpm (IP: 127.0.0.1) - http://127.0.0.1:8080/repo/tool-1.2-1.noarch.rpm\n\
            >>> No more mirrors to try - All mirrors were already tried without success\n\
            Failed to download packages\n Librepo error: Cannot download tool-1.2-1.noarch.rpm: All mirrors were tried\n",
            ExitReason::Exited(1),
        );
        assert!(
            matches!(&ended, TransactionEnd::FetchFailed(why) if why.contains("404")),
            "{ended:?}"
        );
        let (ended, _, _) = run(
            "Package demo-1.1-1.noarch.rpm is not signed\n\
            The downloaded packages were saved in cache until the next successful transaction.\n\
            Error: GPG check FAILED\nThe GPG keys listed for the \"lab\" repository are wrong\n",
            ExitReason::Exited(1),
        );
        assert_eq!(
            ended,
            TransactionEnd::Failed(
                "Package demo-1.1-1.noarch.rpm is not signed; GPG check FAILED".into()
            )
        );
        let (ended, _, _) = run(
            "Running transaction\nTransaction failed: Signature verification failed.\n\
            OpenPGP check for package \"demo-1.1-1.noarch\" (/x.rpm) from repo \"lab\" has failed: The package is not signed.\n",
            ExitReason::Exited(1),
        );
        assert!(
            matches!(&ended, TransactionEnd::Failed(why) if why.contains("demo-1.1-1.noarch")),
            "{ended:?}"
        );
    }

    #[test]
    fn progress_and_failed_scripts_of_dnf_4() {
        let (ended, reports, failures) = run(
            "(3/7): demo-1.2-1.noarch.rpm                    105 kB/s | 6.0 kB     00:00    \n\
            Running transaction check\nRunning transaction test\nRunning transaction\n  \
            Preparing        :                                                        1/1 \n  \
            Upgrading        : fails-1.1-1.noarch                                     1/4 \n\
            warning: %post(fails-1.1-1.noarch) scriptlet failed, exit status 3\n\
            Error in POSTIN scriptlet in rpm package fails\nComplete!\n",
            ExitReason::Exited(0),
        );
        assert_eq!(
            ended,
            TransactionEnd::Done,
            "as it was measured, with exit code 0"
        );
        assert_eq!(reports[0], Report::Downloading { percent: 42 });
        let upgrading = Report::Installing {
            percent: 25,
            action: "Upgrading fails-1.1-1.noarch".into(),
        };
        assert!(reports.contains(&upgrading), "{reports:?}");
        assert_eq!(failures.len(), 1);
    }

    #[test]
    fn progress_of_dnf_5_and_waiting() {
        let (ended, reports, _) = run(
            "Waiting for a lock on the system repository to be released...\n\
            [3/7] a-package-with-a-really-long-name 100% | 321.0 KiB/s |   6.4 KiB |  00m00s\n\
            Running transaction\n\
            [4/8] Upgrading fails-0:1.1-1.noarch    100% |  23.9 KiB/s | 392.0   B |  00m00s\n\
            Transaction failed: Rpm transaction failed.\n",
            ExitReason::Exited(1),
        );
        assert!(matches!(&reports[0], Report::Waiting(_)));
        assert_eq!(reports[1], Report::Downloading { percent: 42 });
        let upgrading = Report::Installing {
            percent: 50,
            action: "Upgrading fails-0:1.1-1.noarch".into(),
        };
        assert_eq!(reports[2], upgrading);
        assert_eq!(
            ended,
            TransactionEnd::Failed("Transaction failed: Rpm transaction failed.".into())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in ".{0,100}") {
            if let Some(Report::Downloading { percent } | Report::Installing { percent, .. }) = progress(&line, true) {
                assert!(percent <= 100);
            }
        }
    }
}
