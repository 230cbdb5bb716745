//! What zypper says in XML: plans, progress, failures.

use super::document::{messages, resolved};
use crate::exec::{ExitReason, Line, OutputHandler};
use crate::package::rpm::resolution::Resolution;
use crate::package::rpm::{conffiles, repositories, scripts, words};
use crate::package::{Observer, PackageId, Report, TransactionEnd};

/// The most error texts that a job's error quotes.
const QUOTED: usize = 6;

/// zypper's exit codes (zypper(8), "EXIT CODES").
mod code {
    /// Another one holds its lock.
    pub const LOCKED: i32 = 7;
    /// The transaction is done, and: a reboot is needed, zypper itself should be restarted.
    pub const REBOOT_NEEDED: i32 = 102;
    pub const RESTART_NEEDED: i32 = 103;
    /// Some repositories were passed over.
    pub const REPOSITORIES_SKIPPED: i32 = 106;
    /// The transaction is done, and a script of a package failed.
    pub const SCRIPT_FAILED: i32 = 107;
}

/// Follows a run.
pub struct ZypperRun<'a> {
    observer: &'a mut dyn Observer,
    document: String,
    /// Packages whose scripts failed.
    failures: Vec<(PackageId, String)>,
    /// Configuration files that were not merged.
    notes: Vec<String>,
}

/// How a run ended.
pub struct ZypperOutcome {
    /// What it would do or did.
    pub resolved: Resolution,
    pub ended: TransactionEnd,
    pub failures: Vec<(PackageId, String)>,
    pub notes: Vec<String>,
    /// Who holds its lock, when it did nothing for that.
    pub locked: Option<String>,
    /// All it said.
    pub document: String,
}

impl ZypperOutcome {
    /// No run at all.
    pub fn nothing() -> Self {
        Self {
            resolved: Resolution::default(),
            ended: TransactionEnd::Done,
            failures: Vec::new(),
            notes: Vec::new(),
            locked: None,
            document: String::new(),
        }
    }
}

impl<'a> ZypperRun<'a> {
    pub fn new(observer: &'a mut dyn Observer) -> Self {
        Self {
            observer,
            document: String::new(),
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What it came to.
    pub fn finish(self, exit_reason: ExitReason) -> ZypperOutcome {
        let errors = messages(&self.document, "error");
        let told = messages(&self.document, "info");
        let of_rpm = told.iter().filter_map(|told| words::error(told));
        let of_rpm: Vec<String> = of_rpm.map(str::to_owned).collect();
        let locked = (exit_reason == ExitReason::Exited(code::LOCKED)).then(|| {
            let holder = errors.iter().find(|error| error.contains("is locked"));
            let sentence = holder.and_then(|holder| holder.lines().next());
            sentence.unwrap_or("System management is locked").to_owned()
        });
        ZypperOutcome {
            resolved: resolved(&self.document),
            ended: ended(exit_reason, &[of_rpm, errors].concat()),
            failures: self.failures,
            notes: self.notes,
            locked,
            document: self.document,
        }
    }
}

impl OutputHandler for ZypperRun<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        let text = &repositories::without_credentials(text);
        self.document.push_str(text);
        self.document.push('\n');
        if let Some((key, why)) = scripts::failed(text) {
            let why = why.trim_end_matches("</message>").to_owned();
            self.failures.push((key, why));
        }
        self.notes.extend(conffiles::note(text));
        if let Some(report) = progress(text) {
            self.observer.report(report);
        }
        self.observer.report(Report::Output(text.clone()));
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
        let lines = errors.iter().flat_map(|error| error.lines());
        let lines: Vec<&str> = lines.map(str::trim).filter(|l| !l.is_empty()).collect();
        lines[..lines.len().min(QUOTED)].join("; ")
    };
    match exit_reason {
        ExitReason::Exited(
            0
            | code::REBOOT_NEEDED
            | code::RESTART_NEEDED
            | code::REPOSITORIES_SKIPPED
            | code::SCRIPT_FAILED,
        ) => TransactionEnd::Done,
        ExitReason::Stopped => TransactionEnd::Stopped,
        ExitReason::Exited(code) if errors.iter().any(|error| is_fetch_error(error)) => {
            TransactionEnd::FetchFailed(words(&format!("zypper exited with {code}")))
        }
        ExitReason::Exited(code) => {
            TransactionEnd::Failed(words(&format!("zypper exited with {code}")))
        }
        ExitReason::Killed(signal) => TransactionEnd::Interrupted(format!(
            "zypper was killed by signal {signal}; {}",
            words("")
        )),
        ExitReason::TimedOut => TransactionEnd::Failed(words("zypper took too long")),
    }
}

/// Recorded with zypper 1.14.89 and a file that answers 404: `File './x.rpm' not found on medium`; the other
/// texts are those of libzypp 17.36 for a transfer that fails and for a file that is not what the index
/// says.
fn is_fetch_error(error: &str) -> bool {
    [
        "not found on medium",
        "Download (curl) error",
        "Timeout exceeded when accessing",
        "Failed to download",
        "Failed to provide Package",
        "Digest verification failed",
        "does not match the expected checksum",
    ]
    .iter()
    .any(|text| error.contains(text))
}

/// `<message type="info">Retrieving: demo-1.1-1.noarch (Lab) (1/3), …` and
/// `<progress id="install-resolvable" name="(1/2) Installing: demo-1.1-1.noarch" …`.
fn progress(line: &str) -> Option<Report> {
    // of a refresh, which has its lock then (recorded with zypper 1.14.89)
    if line.contains("<progress id=\"raw-refresh\"") || line.contains(" is up to date.<") {
        return Some(Report::Downloading { percent: 0 });
    }
    if let Some((_, rest)) = line.split_once(">Retrieving: ") {
        let count = rest.rsplit_once(" (")?.1.split(')').next()?;
        return Some(Report::Downloading {
            percent: share(count)?,
        });
    }
    let (_, rest) = line.split_once("<progress id=\"install-resolvable\" name=\"(")?;
    let (count, rest) = rest.split_once(") ")?;
    Some(Report::Installing {
        percent: share(count)?,
        action: rest.split('"').next()?.to_owned(),
    })
}

/// `1/3` as a percentage.
fn share(text: &str) -> Option<u32> {
    let (done, all) = text.split_once('/')?;
    let (done, all): (u32, u32) = (done.parse().ok()?, all.parse().ok()?);
    (all > 0 && done <= all).then(|| done.saturating_mul(100) / all)
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

    fn run(output: &str, code: i32) -> (ZypperOutcome, Vec<Report>) {
        let mut listener = Listener(Vec::new());
        let mut run = ZypperRun::new(&mut listener);
        output.lines().for_each(|line| run.line(Line::Output(line)));
        (run.finish(ExitReason::Exited(code)), listener.0)
    }

    // all of zypper 1.14.89

    #[test]
    fn a_transaction_with_a_failing_script() {
        let (finished, reports) = run(include_str!("recorded/install.xml"), 107);
        assert_eq!(finished.ended, TransactionEnd::Done);
        let installed: Vec<String> = finished
            .resolved
            .install
            .iter()
            .map(|p| format!("{} {} {}", p.key, p.evr, p.repository))
            .collect();
        assert_eq!(
            installed,
            [
                "demo:noarch 1.2-1 lab",
                "fails:noarch 1.1-1 lab",
                "obsnew:noarch 2.0-1 lab"
            ]
        );
        assert_eq!(finished.resolved.remove[0].package, "obs");
        assert_eq!(finished.failures.len(), 1);
        assert_eq!(
            finished.failures[0].1,
            "%post scriptlet failed, exit status 3"
        );
        let installing = Report::Installing {
            percent: 50,
            action: "Installing: demo-1.2-1.noarch".into(),
        };
        assert!(reports.contains(&installing), "{reports:?}");
        assert_eq!(reports[0], Report::Downloading { percent: 33 });
    }

    #[test]
    fn a_file_that_is_gone_is_a_fetch_error() {
        let text = "<stream>\n<message type=\"error\">File &apos;./tool-1.2-1.noarch.rpm&apos; not found on medium &apos;http://u:p@127.0.0.1:8080/repo/&apos;</message>\n\
            <message type=\"error\">Problem occurred during or after installation or removal of packages:\nInstallation has been aborted as directed.\n</message>\n</stream>";
        let (finished, _) = run(text, 8);
        let TransactionEnd::FetchFailed(why) = &finished.ended else {
            panic!("{:?}", finished.ended);
        };
        assert!(
            why.starts_with(
                "File './tool-1.2-1.noarch.rpm' not found on medium 'http://127.0.0.1:8080/repo/'"
            ),
            "{why}"
        );
    }

    #[test]
    fn a_lock_names_its_holder() {
        let text = "<stream>\n<message type=\"error\">System management is locked by the application with pid 1 (sh).\nClose this application before trying again.</message>\n</stream>\n";
        let (finished, _) = run(text, 7);
        assert_eq!(
            finished.locked.as_deref(),
            Some("System management is locked by the application with pid 1 (sh).")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in "[<>a-z/\"=() 0-9:]{0,80}") {
            let _ = progress(&line);
            let _ = run(&line, 0);
        }
    }
}
