//! What zypper says in XML: plans, progress, failures.

use crate::exec::{ExitReason, Line, OutputHandler};
use crate::package::rpm::resolution::{Planned, Removal, Resolution};
use crate::package::rpm::xml::{self, Node};
use crate::package::rpm::{conffiles, evr, repositories, scripts, words};
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

/// The texts of the messages of one kind.
pub fn messages(document: &str, kind: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut inside = false;
    for node in xml::nodes(document) {
        match node {
            Node::Start { name, attributes } if name == "message" => {
                inside = attributes.get("type").is_some_and(|t| t == kind);
            }
            Node::Text(text) if inside => messages.push(text),
            _ => inside = false,
        }
    }
    messages
}

/// What the resolver would not do and why: `Problem: 1: …`. It says so of all problems at first, and then asks
/// about the first one.
pub fn problems(document: &str) -> Vec<Vec<String>> {
    let mut problems: Vec<Vec<String>> = Vec::new();
    for node in xml::nodes(document) {
        let Node::Text(text) = node else { continue };
        if !text.starts_with("Problem: ") {
            continue;
        }
        // behind a solution begins what could be done
        let lines = text.lines().map(str::trim);
        let said = lines.take_while(|line| !line.starts_with("Solution "));
        let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
        let said = said.join("; ");
        let summary = said.splitn(3, ": ").nth(2).unwrap_or(&said).to_owned();
        if !problems.iter().flatten().any(|known| *known == summary) {
            problems.push(vec![summary]);
        }
    }
    problems
}

/// What changes its vendor in a transaction.
pub fn vendor_changes(document: &str) -> Vec<PackageId> {
    let (mut changed, mut inside) = (Vec::new(), false);
    for node in xml::nodes(document) {
        match node {
            Node::Start { name, attributes } if inside && name == "solvable" => {
                let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
                changed.push(PackageId {
                    package: of("name"),
                    architecture: of("arch"),
                });
            }
            Node::Start { name, .. } if name.starts_with("to-") => {
                inside = name.ends_with("change-vendor");
            }
            Node::End(name) if name.starts_with("to-") => inside = false,
            _ => {}
        }
    }
    changed
}

/// The summary of a transaction.
fn resolved(document: &str) -> Resolution {
    let mut resolved = Resolution::default();
    let mut section = String::new();
    for node in xml::nodes(document) {
        match node {
            Node::Start { name, attributes } if name == "solvable" => {
                let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
                if of("type") != "package" {
                    continue;
                }
                match section.as_str() {
                    "to-remove" => resolved.remove.push(Removal {
                        package: of("name"),
                        evr: Some(evr::shown(&of("edition")).to_owned()),
                        because: None,
                    }),
                    "" => {}
                    _ => {
                        let planned = Planned {
                            key: PackageId {
                                package: of("name"),
                                architecture: of("arch"),
                            },
                            evr: evr::shown(&of("edition")).to_owned(),
                            repository: of("repository"),
                            // it sums them up
                            size: None,
                        };
                        // one that is upgraded and has another architecture then is in two sections
                        if !resolved.install.contains(&planned) {
                            resolved.install.push(planned);
                        }
                    }
                }
            }
            Node::Start { name, .. } if name.starts_with("to-") => section = name,
            Node::End(name) if name == section => section.clear(),
            _ => {}
        }
    }
    resolved
}

/// The packages of `list-updates`.
pub fn updates(document: &str) -> Vec<Planned> {
    let mut updates: Vec<Planned> = Vec::new();
    for node in xml::nodes(document) {
        let Node::Start { name, attributes } = node else {
            continue;
        };
        let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        if name == "update" && of("kind") == "package" {
            updates.push(Planned {
                key: PackageId {
                    package: of("name"),
                    architecture: of("arch"),
                },
                evr: evr::shown(&of("edition")).to_owned(),
                repository: String::new(),
                size: None,
            });
        } else if name == "source"
            && let Some(update) = updates.last_mut()
        {
            update.repository = of("alias");
        }
    }
    updates
}

/// The packages and versions of `search --details` that a repository has.
pub fn versions(document: &str) -> Vec<(PackageId, String)> {
    let version = |node: Node| {
        let Node::Start { name, attributes } = node else {
            return None;
        };
        let of = |key: &str| attributes.get(key).cloned();
        if name != "solvable" || of("repository")? == "(System Packages)" {
            return None;
        }
        let key = PackageId {
            package: of("name")?,
            architecture: of("arch")?,
        };
        Some((key, evr::shown(&of("edition")?).to_owned()))
    };
    xml::nodes(document)
        .into_iter()
        .filter_map(version)
        .collect()
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

    #[test]
    fn why_an_update_cannot_be_installed() {
        let text = "<prompt id=\"1\">\n<description>Problem: 1: nothing provides &apos;nothing-there&apos; needed by the to be installed unsat-1.1-1.noarch\n Solution 1: do not install unsat-1.1-1.noarch\n</description>";
        assert_eq!(
            problems(text),
            [
                [
                    "nothing provides 'nothing-there' needed by the to be installed unsat-1.1-1.noarch"
                ]
            ]
        );
    }

    #[test]
    fn lists_are_read() {
        let text = r#"<update kind="package" name="tool" edition="2:1.2-1" arch="noarch" edition-old="2:1.0-1"><summary>fixture</summary><source url="http://127.0.0.1:8080/repo/" alias="lab"/></update><update kind="patch" name="x"/>"#;
        let updates = updates(text);
        assert_eq!(updates.len(), 1);
        assert_eq!(updates[0].repository, "lab");
        let text = r#"<solvable status="installed" name="demo" kind="package" edition="1.2-1" arch="noarch" repository="(System Packages)"/>
<solvable status="other-version" name="demo" kind="package" edition="1.1-1" arch="noarch" repository="Lab repository"/>"#;
        assert_eq!(versions(text).len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in "[<>a-z/\"=() 0-9:]{0,80}") {
            let _ = progress(&line);
            let _ = run(&line, 0);
        }
    }
}
