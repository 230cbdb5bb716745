//! The administrator's own checks: the programs in `verify.d`, run before an update and after it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::exec::{ExitReason, Line, OutputHandler, Program};
use crate::host::systemd;
use crate::journal;
use crate::package::Change;
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::verification::{Check, CheckKind};
use crate::worker::steps::verify::programs::{self, Checker};

/// The most characters of a program's output that are kept: the last ones.
const OUTPUT_LIMIT: usize = 2000;

/// The most packages that a program is told in its environment, which has a limit of its own.
const NAMED: usize = 500;

/// Where an update is when a program is run: what it finds as `PATCH_STAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing has changed yet.
    Baseline,
    /// The update has been made.
    After,
    /// Former versions have been put back.
    RolledBack,
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "before",
            Self::After => "after",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// What a program is told, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The job whose update is verified.
    pub job: &'a JobId,
    /// What changes, as far as that is known.
    pub changes: &'a [Change],
    /// The time for each program.
    pub limit: Duration,
}

/// How a program ended before the update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookBaseline {
    /// Its path below `verify.d`.
    pub name: String,
    /// Whether it found everything as it should be.
    pub passed: bool,
    /// Whether its time was up.
    #[serde(default)]
    pub timed_out: bool,
    /// What it said.
    pub message: String,
}

/// Runs every program before anything changes; none when a stop was asked for meanwhile. An error when one
/// that decides could not be run, unless the changes are urgent: it then decides nothing.
///
/// It is done before the package manager starts, not while that downloads: apt and dnf hold their locks from
/// their start on, and a program that takes one of them would fail then and pass afterwards.
pub fn baseline(
    paths: &Paths,
    task: Task<'_>,
    is_urgent: bool,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<HookBaseline>>> {
    let checkers = programs::find(paths);
    if let Some(why) = programs::refusal(&checkers).filter(|_| !is_urgent) {
        bail!("{why}");
    }
    let mut earlier = Vec::new();
    for Checker {
        path,
        name,
        required,
        unusable,
    } in checkers
    {
        let said = if let Some(why) = unusable {
            Said::failed(why)
        } else {
            systemd::status(&format!("running {name} before the update"));
            run(&path, task, Stage::Baseline, stop)
        };
        if said.how == How::Stopped {
            return Ok(None);
        }
        if said.how == How::NotStarted && required && !is_urgent {
            bail!("{}", programs::not_begun(&said.message));
        }
        earlier.push(HookBaseline {
            name,
            passed: said.how == How::Passed,
            timed_out: said.how == How::TimedOut,
            message: said.message,
        });
    }
    Ok(Some(earlier))
}

/// Runs every program after the change, and holds what it says against what it said `before`, where that is
/// known.
pub fn checks(
    paths: &Paths,
    task: Task<'_>,
    stage: Stage,
    before: Option<&[HookBaseline]>,
) -> Vec<Check> {
    let checkers = programs::find(paths);
    let before = before.unwrap_or_default();
    let known = |name: &str| before.iter().find(|earlier| earlier.name == name);
    let mut checks: Vec<Check> = Vec::new();
    for checker in &checkers {
        let earlier = known(&checker.name);
        let said = match &checker.unusable {
            Some(why) => Said::failed(why.clone()),
            None if earlier.is_some_and(|earlier| earlier.timed_out) => {
                let limit = task.limit.as_secs();
                Said::failed(format!(
                    "it was not run again: it did not end within {limit} s before"
                ))
            }
            None => run(&checker.path, task, stage, &|| false),
        };
        checks.push(judged(checker, &said, earlier));
    }
    let is_there = |earlier: &&HookBaseline| checkers.iter().any(|c| c.name == earlier.name);
    let gone = before.iter().filter(|earlier| !is_there(earlier));
    checks.extend(gone.map(|earlier| Check {
        name: earlier.name.clone(),
        kind: CheckKind::Hook,
        required: false,
        passed: false,
        message: format!(
            "{} was run before the update and no longer exists",
            earlier.name
        ),
    }));
    checks
}

/// What a program's answer means: one that failed before, too, decides nothing. Pure.
fn judged(checker: &Checker, said: &Said, earlier: Option<&HookBaseline>) -> Check {
    let passed = said.how == How::Passed;
    let failed_before = earlier.is_some_and(|earlier| !earlier.passed);
    let message = match (failed_before, passed) {
        (true, false) => format!(
            "{}; it failed before the update, too, and decides nothing",
            said.message
        ),
        _ => said.message.clone(),
    };
    Check {
        name: checker.name.clone(),
        kind: CheckKind::Hook,
        required: checker.required && !failed_before,
        passed,
        message,
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Passed,
    Failed,
    TimedOut,
    NotStarted,
    Stopped,
}

/// How a program ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    how: How,
    message: String,
}

impl Said {
    fn failed(message: String) -> Self {
        let how = How::Failed;
        Self { how, message }
    }
}

fn run(file: &Path, task: Task<'_>, stage: Stage, stop: &dyn Fn() -> bool) -> Said {
    let Task {
        job,
        changes,
        limit,
    } = task;
    let names: Vec<String> = changes
        .iter()
        .take(NAMED)
        .map(|change| {
            let version = |version: &Option<String>| version.clone().unwrap_or_default();
            let (from, to) = (version(&change.from), version(&change.to));
            format!("{}={from}={to}", change.key())
        })
        .collect();
    let program = Program::new(file)
        .bare()
        .limit(limit)
        .env("PATCH_STAGE", stage.as_str())
        .env("PATCH_JOB", job.as_str())
        .env("PATCH_COUNT", &changes.len().to_string())
        .env("PATCH_PACKAGES", &names.join(" "));
    let mut heard = Heard {
        tail: String::new(),
        stop,
    };
    let finished = match program.run(&mut heard) {
        Ok(finished) => finished,
        Err(error) => {
            return Said {
                how: How::NotStarted,
                message: format!("{error:#}"),
            };
        }
    };
    let how = match finished.exit_reason {
        ExitReason::Exited(0) => How::Passed,
        ExitReason::Exited(_) | ExitReason::Killed(_) => How::Failed,
        ExitReason::TimedOut => How::TimedOut,
        ExitReason::Stopped => How::Stopped,
    };
    if how == How::Passed {
        let message = heard.tail;
        return Said { how, message };
    }
    // the failure quotes what was said on standard error already
    let said = if finished.errors.is_empty() {
        heard.tail
    } else {
        String::new()
    };
    let message = [program.failure(&finished), said].join(": ");
    let message = message.trim_end_matches(": ").to_owned();
    Said { how, message }
}

/// Hears the end of what a program prints, and whether it is to stop.
struct Heard<'a> {
    tail: String,
    stop: &'a dyn Fn() -> bool,
}

impl OutputHandler for Heard<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        if !self.tail.is_empty() {
            self.tail.push_str("; ");
        }
        self.tail.push_str(&journal::plain(text));
        let surplus = self.tail.chars().count().saturating_sub(OUTPUT_LIMIT);
        if surplus > 0 {
            self.tail = self.tail.chars().skip(surplus).collect();
        }
    }

    fn stop(&mut self) -> bool {
        (self.stop)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn program(path: &Path, script: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn change() -> Change {
        Change {
            package: "demo".into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: Some("2".into()),
            file: None,
            ..Change::default()
        }
    }

    fn shown(checks: &[Check]) -> Vec<(&str, bool, bool, &str)> {
        checks
            .iter()
            .map(|c| (c.name.as_str(), c.required, c.passed, c.message.as_str()))
            .collect()
    }

    #[test]
    fn they_are_run_in_order_and_told_what_changed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let top = paths.host(programs::DIRECTORY);
        program(
            &top.join("20-b"),
            "echo $PATCH_PACKAGES; echo $PATCH_COUNT $PATCH_STAGE",
        );
        program(&top.join("10-a"), "echo why >&2; exit 3");
        program(&top.join("wanted.d/x"), "sleep 60");
        let task = Task {
            job: &JobId::new().unwrap(),
            changes: &[change()],
            limit: Duration::from_millis(200),
        };
        let found = checks(&paths, task, Stage::RolledBack, None);
        let shown = shown(&found);
        assert_eq!(shown[0], ("10-a", true, false, "10-a exited with 3: why"));
        assert_eq!(
            shown[1],
            ("20-b", true, true, "demo:all=1=2; 1 rolled-back")
        );
        assert_eq!(shown[2].0, "wanted.d/x");
        assert!(!shown[2].1 && !shown[2].2 && shown[2].3.contains("limit"));
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn what_failed_before_decides_nothing_and_what_hung_is_not_waited_for_again() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let top = paths.host(programs::DIRECTORY);
        program(&top.join("10-bad"), "exit 1");
        program(&top.join("20-hangs"), "sleep 60");
        program(&top.join("30-good"), "[ $PATCH_STAGE = before ]");
        program(&top.join("40-mended"), "[ $PATCH_STAGE = after ]");
        program(&top.join("50-goes"), "rm $0");
        let task = Task {
            job: &JobId::new().unwrap(),
            changes: &[],
            limit: Duration::from_millis(500),
        };
        let before = baseline(&paths, task, false, &|| false).unwrap().unwrap();
        let passed: Vec<bool> = before.iter().map(|earlier| earlier.passed).collect();
        assert_eq!(passed, [false, false, true, false, true]);
        assert!(before[1].timed_out);
        let found = checks(&paths, task, Stage::After, Some(&before));
        let shown = shown(&found);
        assert_eq!(
            shown[0],
            (
                "10-bad",
                false,
                false,
                "10-bad exited with 1; it failed before the update, too, and decides nothing"
            )
        );
        assert!(
            !shown[1].1 && shown[1].3.contains("was not run again"),
            "{shown:?}"
        );
        assert_eq!(
            (shown[2].1, shown[2].2),
            (true, false),
            "it was good before"
        );
        assert_eq!((shown[3].1, shown[3].2), (false, true));
        assert_eq!(shown[4].0, "50-goes");
        assert!(!shown[4].1 && shown[4].3.contains("no longer exists"));
    }

    #[test]
    fn what_cannot_be_run_keeps_anything_from_being_changed_unless_that_is_urgent() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let top = paths.host(programs::DIRECTORY);
        program(&top.join("required.d/a"), "exit 0");
        // neither a script nor a program
        fs::write(top.join("required.d/a"), "exit 0\n").unwrap();
        let task = Task {
            job: &JobId::new().unwrap(),
            changes: &[],
            limit: Duration::from_secs(5),
        };
        let why = baseline(&paths, task, false, &|| false)
            .unwrap_err()
            .to_string();
        assert!(
            why.contains("failed to start") && why.contains("required.d/a"),
            "{why}"
        );
        fs::set_permissions(top.join("required.d/a"), PermissionsExt::from_mode(0o644)).unwrap();
        let why = baseline(&paths, task, false, &|| false)
            .unwrap_err()
            .to_string();
        assert!(why.contains("chmod +x"), "{why}");
        let urgent = baseline(&paths, task, true, &|| false).unwrap().unwrap();
        assert!(!urgent[0].passed);
        let found = checks(&paths, task, Stage::RolledBack, Some(&urgent));
        assert!(!found[0].required && !found[0].passed);
    }

    #[test]
    fn a_stop_is_heard_before_anything_changes() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        program(&paths.host(programs::DIRECTORY).join("a"), "sleep 60");
        let task = Task {
            job: &JobId::new().unwrap(),
            changes: &[],
            limit: Duration::from_secs(50),
        };
        assert_eq!(baseline(&paths, task, false, &|| true).unwrap(), None);
    }
}
