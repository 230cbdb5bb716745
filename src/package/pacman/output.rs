//! What a running pacman prints, and how it ended.

use anyhow::Result;

use super::failure::{ended, explains, is_harmless};
use crate::exec::{ExitReason, Line, OutputHandler, Program};
use crate::package::credentials::redacted;
use crate::package::{Observer, Report, TransactionEnd};

/// What a run said of itself.
#[derive(Debug)]
pub struct PacmanOutcome {
    /// How it ended.
    pub ended: TransactionEnd,
    /// Whether it found the database locked.
    pub locked: bool,
    /// Configuration files that were not merged.
    pub notes: Vec<String>,
    /// Packages in which something failed, each with its words: pacman goes on, and exits with 0 (FACTS 51).
    pub failed: Vec<(String, String)>,
}

/// Runs pacman to its end, or until a stop is asked for that may be followed. `total` packages are expected.
pub fn run(program: &Program, total: usize, observer: &mut dyn Observer) -> Result<PacmanOutcome> {
    let mut run = PacmanRun {
        observer,
        reader: ProgressReader::new(total),
    };
    let exit_reason = program.run(&mut run)?.exit_reason;
    Ok(run.reader.finish(exit_reason))
}

struct PacmanRun<'a> {
    observer: &'a mut dyn Observer,
    reader: ProgressReader,
}

impl OutputHandler for PacmanRun<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        let text = redacted(text);
        if let Some(progress) = self.reader.line(&text) {
            self.observer.report(progress);
        }
        self.observer.report(Report::Output(text));
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}

/// Reads the lines of one run.
#[derive(Debug, Default)]
pub struct ProgressReader {
    total: usize,
    fetched: usize,
    changed: usize,
    /// The package that is being changed.
    current: Option<String>,
    errors: Vec<String>,
    notes: Vec<String>,
    failed: Vec<(String, String)>,
    /// The hook that runs now that the packages are changed, by its description.
    hook: Option<String>,
    /// The last line before a scriptlet's failure is usually its own explanation.
    last: String,
}

impl ProgressReader {
    /// For a run that is to change so many packages.
    pub fn new(total: usize) -> Self {
        Self {
            total: total.max(1),
            ..Self::default()
        }
    }

    /// Takes one line; what it says of the progress.
    pub fn line(&mut self, line: &str) -> Option<Report> {
        // what follows an answered question stands in its line
        let text = line
            .rsplit_once("[Y/n] ")
            .map_or(line, |(_, rest)| rest)
            .trim_start();
        let progress = self.progress(text);
        if let Some(error) = text.strip_prefix("error: ") {
            if !is_harmless(error) {
                self.error(error);
            }
        } else if explains(text) && !self.errors.is_empty() || text.contains(" is corrupted (") {
            self.errors.push(text.trim_start_matches(": ").to_owned());
        } else if let Some(note) = text.strip_prefix("warning: ").and_then(not_merged) {
            self.notes.push(note);
        }
        text.clone_into(&mut self.last);
        progress
    }

    fn progress(&mut self, text: &str) -> Option<Report> {
        if text.ends_with(" downloading...") {
            let percent = percent(self.fetched, self.total);
            self.fetched += 1;
            return Some(Report::Downloading { percent });
        }
        if text.starts_with(":: Running post-transaction hooks") {
            self.current = None;
            self.hook = Some("a hook".to_owned());
            return Some(Report::Installing {
                percent: 99,
                action: "running hooks".to_owned(),
            });
        }
        if self.hook.is_some()
            && let Some(description) = numbered(text)
        {
            self.hook = Some(description.to_owned());
        }
        let package = [
            "installing ",
            "upgrading ",
            "downgrading ",
            "reinstalling ",
            "removing ",
        ]
        .iter()
        .find_map(|verb| text.strip_prefix(verb)?.strip_suffix("..."))
        .filter(|package| !package.contains(' '))?;
        let percent = percent(self.changed, self.total);
        self.changed += 1;
        self.current = Some(package.to_owned());
        Some(Report::Installing {
            percent,
            action: text.trim_end_matches('.').to_owned(),
        })
    }

    fn error(&mut self, error: &str) {
        match &self.current {
            // pacman 7.0, when a scriptlet exits with another code than 0
            Some(package) if error.starts_with("command failed to execute correctly") => {
                let why = format!("a scriptlet failed: {}", self.last);
                self.failed.push((package.clone(), why));
            }
            _ => {
                // after the packages: it goes on, and exits with 0
                if let Some(hook) = &self.hook {
                    self.notes.push(format!(
                        "a hook of pacman failed after the packages were changed: {hook}: {}: {error}",
                        self.last
                    ));
                }
                self.errors.push(error.to_owned());
            }
        }
    }

    /// What it means, now that it has ended.
    pub fn finish(self, exit_reason: ExitReason) -> PacmanOutcome {
        let locked = self
            .errors
            .iter()
            .any(|error| error.contains("unable to lock database"));
        PacmanOutcome {
            ended: ended(exit_reason, &self.errors),
            locked,
            notes: self.notes,
            failed: self.failed,
        }
    }
}

/// The description of a hook in `(1/2) Arming ConditionNeedsUpdate...` (alpm-hooks(5)).
fn numbered(text: &str) -> Option<&str> {
    let (number, description) = text.strip_prefix('(')?.split_once(") ")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (of, count) = number.split_once('/')?;
    (is_number(of.trim()) && is_number(count)).then_some(description)
}

/// `/etc/x installed as /etc/x.pacnew`: the administrator changed it, and it is kept.
fn not_merged(text: &str) -> Option<String> {
    let (file, new) = text.split_once(" installed as ")?;
    Some(format!(
        "{file} was changed here and is kept; the new version is {new}"
    ))
}

fn percent(done: usize, total: usize) -> u32 {
    u32::try_from((done * 100 / total.max(1)).min(99)).unwrap_or(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, exit_reason: ExitReason) -> PacmanOutcome {
        let mut reader = ProgressReader::new(2);
        for line in text.lines() {
            reader.line(line);
        }
        reader.finish(exit_reason)
    }

    #[test]
    fn a_failing_scriptlet_is_a_failure_of_its_package() {
        // pacman 7.0; it exits with 0
        let outcome = read(
            ":: Processing package changes...\nupgrading bad...\nscriptlet says no\n\
             error: command failed to execute correctly\nupgrading demo...\n\
             warning: /etc/demo.conf installed as /etc/demo.conf.pacnew\n",
            ExitReason::Exited(0),
        );
        assert_eq!(outcome.ended, TransactionEnd::Done);
        assert_eq!(
            outcome.failed,
            [("bad".into(), "a scriptlet failed: scriptlet says no".into())]
        );
        assert_eq!(outcome.notes.len(), 1);
    }

    #[test]
    fn a_refusing_gate_is_no_failure_of_a_package() {
        let outcome = read(
            "error: restricting filesystem access failed because landlock is not supported by the kernel!\n\
             :: Running pre-transaction hooks...\n(1/1) gate\nerror: command failed to execute correctly\n\
             error: failed to commit transaction (failed to run transaction hooks)\n",
            ExitReason::Exited(1),
        );
        assert!(outcome.failed.is_empty());
        let TransactionEnd::Failed(why) = outcome.ended else {
            panic!()
        };
        assert!(
            why.starts_with("command failed to execute correctly; failed to commit"),
            "{why}"
        );
    }

    #[test]
    fn a_hook_that_fails_after_the_packages_is_a_note() {
        let outcome = read(
            "upgrading demo...\n:: Running post-transaction hooks...\n(1/2) Running watcher...\n\
             watcher is unwell\nerror: command failed to execute correctly\n(2/2) Running other...\n",
            ExitReason::Exited(0),
        );
        assert_eq!(outcome.ended, TransactionEnd::Done);
        assert!(outcome.failed.is_empty());
        let note = "a hook of pacman failed after the packages were changed: Running watcher...: \
            watcher is unwell: command failed to execute correctly";
        assert_eq!(outcome.notes, [note]);
        for line in ["(1/2)", "(a/2) x", "( 1/12) x"] {
            assert_eq!(
                numbered(line).is_some(),
                line.ends_with(") x") && !line.contains('a')
            );
        }
    }

    #[test]
    fn fetch_errors_are_told_apart() {
        // pacman 7.0: a file that is gone, a damaged one, a lock, a dependency
        let gone = read(
            "error: failed retrieving file 'demo-1.1-1-any.pkg.tar.gz' from 127.0.0.1:8099 : The requested URL returned error: 404\n\
             warning: failed to retrieve some files\n\
             error: failed to commit transaction (failed to retrieve some files)\n",
            ExitReason::Exited(1),
        );
        let TransactionEnd::FetchFailed(why) = gone.ended else {
            panic!("{gone:?}")
        };
        assert!(
            why.contains("'demo-1.1-1-any.pkg.tar.gz'") && why.contains("404"),
            "{why}"
        );
        let damaged = read(
            ":: File /var/cache/pacman/pkg/demo-1.1-1-any.pkg.tar.gz is corrupted (invalid or corrupted package (checksum)).\n\
             Do you want to delete it? [Y/n] error: failed to commit transaction (invalid or corrupted package)\n",
            ExitReason::Exited(1),
        );
        assert!(
            matches!(damaged.ended, TransactionEnd::FetchFailed(_)),
            "{damaged:?}"
        );
        // the first mirror did not have it, the second did
        let conflict = read(
            "error: failed retrieving file 'demo-1.1-1-any.pkg.tar.gz' from 127.0.0.1:8099 : The requested URL returned error: 404\n\
             error: failed to commit transaction (conflicting files)\n\
             demo: /usr/bin/demo exists in filesystem\n",
            ExitReason::Exited(1),
        );
        let TransactionEnd::Failed(why) = conflict.ended else {
            panic!("{conflict:?}")
        };
        assert!(why.ends_with("/usr/bin/demo exists in filesystem"), "{why}");
        let locked = read(
            "error: failed to init transaction (unable to lock database)\n",
            ExitReason::Exited(1),
        );
        assert!(locked.locked && matches!(locked.ended, TransactionEnd::Failed(_)));
        let other = read(
            "error: failed to prepare transaction (could not satisfy dependencies)\n\
             :: unable to satisfy dependency 'nothing' required by demo\n",
            ExitReason::Exited(1),
        );
        let TransactionEnd::Failed(why) = other.ended else {
            panic!("{other:?}")
        };
        assert!(
            why.ends_with("unable to satisfy dependency 'nothing' required by demo"),
            "{why}"
        );
    }

    #[test]
    fn progress_is_counted() {
        let mut reader = ProgressReader::new(2);
        assert_eq!(
            reader.line(" demo-1.1-1-any downloading..."),
            Some(Report::Downloading { percent: 0 })
        );
        assert_eq!(
            reader.line(" other-1.1-1-any downloading..."),
            Some(Report::Downloading { percent: 50 })
        );
        let installing = reader.line("upgrading demo...");
        assert_eq!(
            installing,
            Some(Report::Installing {
                percent: 0,
                action: "upgrading demo".into()
            })
        );
        assert_eq!(reader.line("upgrading the world now..."), None);
        let second = reader.line("installing other...");
        assert!(
            matches!(second, Some(Report::Installing { percent: 50, .. })),
            "{second:?}"
        );
    }
}
