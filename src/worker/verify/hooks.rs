//! The administrator's own checks: programs in `verify.d`, each with a time limit.

use std::path::Path;
use std::time::Duration;

use crate::journal;
use crate::package::Change;
use crate::package::command::{Line, Program, Watch};
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::verification::{Check, CheckKind};
use crate::worker::hook;

/// The most characters of a program's output that are kept: the last ones.
const OUTPUT_LIMIT: usize = 2000;

/// The most packages that a program is told in its environment, which has a limit of its own.
const NAMED: usize = 500;

/// Runs every program in `verify.d` and `verify.d/required.d`, which decide, and in `verify.d/wanted.d`,
/// which warn, each directory in the order of its names.
pub fn checks(paths: &Paths, job: &JobId, changes: &[Change], limit: Duration) -> Vec<Check> {
    let top = paths.host("/etc/linux_patch_api/verify.d");
    let places = [
        (top.clone(), true),
        (top.join("required.d"), true),
        (top.join("wanted.d"), false),
    ];
    let mut checks = Vec::new();
    for (directory, required) in places {
        let check = |path: &Path, (passed, message): (bool, String)| {
            let name = path.strip_prefix(&top).unwrap_or(path);
            Check {
                name: journal::plain(&name.to_string_lossy()),
                kind: CheckKind::Hook,
                required,
                passed,
                message,
            }
        };
        match hook::hooks(&directory) {
            Ok(files) => checks.extend(files.iter().map(|file| {
                let said = match hook::trusted(file) {
                    Ok(()) => run(file, job, changes, limit),
                    Err(why) => (false, format!("{why:#}")),
                };
                check(file, said)
            })),
            Err(why) => checks.push(check(&directory, (false, format!("{why:#}")))),
        }
    }
    checks
}

fn run(file: &Path, job: &JobId, changes: &[Change], limit: Duration) -> (bool, String) {
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
        .env("PATCH_JOB", job.as_str())
        .env("PATCH_COUNT", &changes.len().to_string())
        .env("PATCH_PACKAGES", &names.join(" "));
    let mut tail = Tail(String::new());
    match program.run(&mut tail) {
        Err(error) => (false, format!("{error:#}")),
        Ok(finished) if finished.succeeded() => (true, tail.0),
        Ok(finished) => {
            let how = program.failure(&finished);
            // the failure quotes what was said on standard error already
            let said = if finished.errors.is_empty() {
                tail.0
            } else {
                String::new()
            };
            let message = [how, said].join(": ");
            (false, message.trim_end_matches(": ").to_owned())
        }
    }
}

/// The end of what a program prints.
struct Tail(String);

impl Watch for Tail {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        if !self.0.is_empty() {
            self.0.push_str("; ");
        }
        self.0.push_str(&journal::plain(text));
        let surplus = self.0.chars().count().saturating_sub(OUTPUT_LIMIT);
        if surplus > 0 {
            self.0 = self.0.chars().skip(surplus).collect();
        }
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

    #[test]
    fn they_are_run_in_order_and_told_what_changed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let top = root.path().join("etc/linux_patch_api/verify.d");
        program(&top.join("20-b"), "echo $PATCH_PACKAGES; echo $PATCH_COUNT");
        program(&top.join("10-a"), "echo why >&2; exit 3");
        program(&top.join("10-a.dpkg-dist"), "exit 1");
        program(&top.join("wanted.d/x"), "sleep 60");
        fs::write(top.join("README"), "no program").unwrap();
        let change = Change {
            package: "demo".into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: Some("2".into()),
            file: None,
            ..Change::default()
        };
        let id = JobId::new().unwrap();
        let found = checks(&paths, &id, &[change], Duration::from_millis(200));
        let shown: Vec<(&str, bool, bool, &str)> = found
            .iter()
            .map(|c| (c.name.as_str(), c.required, c.passed, c.message.as_str()))
            .collect();
        assert_eq!(shown[0], ("10-a", true, false, "10-a exited with 3: why"));
        assert_eq!(shown[1], ("20-b", true, true, "demo:all=1=2; 1"));
        assert_eq!(shown[2].0, "wanted.d/x");
        assert!(!shown[2].1 && !shown[2].2 && shown[2].3.contains("limit"));
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn what_others_may_write_to_is_not_run() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let file = root.path().join("etc/linux_patch_api/verify.d/a");
        program(&file, "exit 0");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o757)).unwrap();
        let id = JobId::new().unwrap();
        let found = checks(&paths, &id, &[], Duration::from_secs(5));
        assert!(!found[0].passed && found[0].message.contains("not run"));
    }
}
