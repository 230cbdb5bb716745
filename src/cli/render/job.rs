//! The record of a job: what it did, what spoke against that, how it was rolled back.

use super::fields::{Named, count};
use super::kept_back;
use super::lists::status;
use super::view::View;
use crate::cli::answers::{
    ChangeAnswer, CheckAnswer, FilesAnswer, HangAnswer, JobAnswer, OutdatedAnswer, RollbackAnswer,
};
use crate::cli::word::Word;
use crate::journal::plain;
use crate::request::Kind;
use crate::state::job::JobStatus;
use crate::state::services::RestartState;

/// The record. What its error says is not repeated.
pub fn job(record: &JobAnswer, view: &View) -> String {
    let mut lines = vec![head(record)];
    lines.extend(record.changes.iter().map(change));
    let listed = format!("'patchctl log --json {}' names each", record.request.id);
    let kept = kept_back::summary(&record.kept_back, &listed);
    lines.extend(kept.into_iter().map(|line| format!("  {line}")));
    lines.extend(record.hangs.iter().map(|of| hang(of, view)));
    lines.extend(record.outdated_services.iter().map(outdated));
    if let Some(reboot) = &record.reboot {
        lines.push(format!("  a reboot follows: {}", reboot.reasons.join(", ")));
    }
    lines.extend(record.notes.iter().map(|note| format!("  note: {note}")));
    lines.extend(undone(record));
    let lines = lines
        .iter()
        .map(|line| view.wrapped(&line.lines().map(plain).collect::<Vec<_>>().join(" ")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Who asked for the job, and when it ran.
pub fn asked(record: &JobAnswer, view: &View) -> String {
    let requester = &record.request.requester;
    let user = requester.uid.map(|uid| format!(" by user {uid}"));
    let login = requester.login_uid;
    let login = login.map(|uid| format!(", logged in as user {uid}"));
    let session = requester.session.as_ref();
    let session = session.map(|id| format!(" in session {}", plain(id)));
    let parts = [user, login, session]
        .into_iter()
        .flatten()
        .collect::<String>();
    let mut lines = vec![format!(
        "  requested over {}{parts}",
        plain(&requester.door)
    )];
    for (time, what) in [
        (record.started_at, "started"),
        (record.finished_at, "finished"),
    ] {
        lines.extend(time.map(|time| format!("  {what} {}", view.time(time))));
    }
    let lines = lines.iter().map(|line| view.wrapped(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// The job, how it stands, and why; that it had nothing to do, where it had not.
fn head(record: &JobAnswer) -> String {
    let shown = format!("job {}: {}", record.request.id, status(&record.status));
    let kind = &record.request.kind;
    let is_update = matches!(kind, Word::Known(Kind::Apply | Kind::Update));
    let succeeded = record.status == Word::Known(JobStatus::Succeeded);
    match record.error.as_str() {
        "" if is_update && succeeded && record.changes.is_empty() => {
            format!("{shown}: nothing to do")
        }
        "" => shown,
        error => format!("{shown}: {error}"),
    }
}

fn change(change: &ChangeAnswer) -> String {
    let name = change.name();
    match (change.from.as_str(), change.to.as_str()) {
        (_, to) if change.rebuilt.is_some() => format!("  {name} {to} rebuilt"),
        ("", to) => format!("  {name} {to} is new"),
        (from, "") => format!("  {name} {from} is gone"),
        (from, to) => format!("  {name} {from} -> {to}"),
    }
}

fn hang(hang: &HangAnswer, view: &View) -> String {
    let what = [hang.script.as_str(), hang.command.as_str()];
    let what = what.into_iter().find(|what| !what.is_empty());
    let what = what.unwrap_or("the package manager");
    let since = view.short_time(hang.since);
    match hang.until {
        None => format!("  {what} hangs since {since}"),
        until => format!("  {what} hung from {since} to {}", view.short_time(until)),
    }
}

fn outdated(service: &OutdatedAnswer) -> String {
    let unit = &service.unit;
    match &service.state {
        Word::Known(RestartState::Outdated) => format!("  {unit} still runs replaced files"),
        state => format!("  {unit} ran replaced files: {state}"),
    }
}

/// What spoke against an update, and how it was undone.
fn undone(record: &JobAnswer) -> Vec<String> {
    let error = record.error.as_str();
    let failed = |check: &&CheckAnswer| {
        let message = &check.message;
        let is_told = !message.is_empty() && error.contains(message);
        check.required && check.passed == Some(false) && !is_told
    };
    let failed = record.verification.iter().filter(failed);
    let mut lines: Vec<String> = failed
        .map(|check| format!("  {} {}: {}", check.kind, check.name, check.message))
        .collect();
    for lost in &record.cannot_go_back {
        let (package, version, reason) = (&lost.package, &lost.version, &lost.reason);
        lines.push(format!("  cannot go back: {package} {version}: {reason}"));
    }
    if let Some(rollback) = &record.rollback {
        lines.extend(rollback_lines(rollback, error));
    }
    lines
}

/// How a rollback ended; without what the job's error says already.
fn rollback_lines(rollback: &RollbackAnswer, error: &str) -> Vec<String> {
    let outcome = rollback.outcome.replace('_', " ");
    let mut lines = vec![match rollback.summary.as_str() {
        // the record of an older version
        "" if rollback.as_before => {
            format!("  rollback: {outcome}, the host is as it was before")
        }
        "" => format!("  rollback: {outcome}"),
        summary if error.contains(summary) => format!("  rollback: {outcome}"),
        summary => format!("  rollback: {outcome}: {summary}"),
    }];
    let tool = rollback.tool.iter();
    lines.extend(tool.map(|tool| format!("    by {tool} alone")));
    let files = rollback.files.iter();
    lines.extend(files.map(|files| format!("    {}", files_of(files))));
    let sources = rollback.sources.iter();
    lines.extend(sources.map(|(package, source)| format!("    {package} from: {source}")));
    let why = rollback.error.as_ref().filter(|why| !error.contains(*why));
    lines.extend(why.map(|why| format!("    {why}")));
    lines
}

/// What was found of the files of a package that came back.
fn files_of(files: &FilesAnswer) -> String {
    let (package, version) = (&files.package, &files.version);
    if let Some(why) = &files.unknown {
        return format!("{package} {version}: its files could not be compared: {why}");
    }
    let counts = [(&files.missing, "missing"), (&files.differing, "differing")];
    let counts = counts.iter().filter(|(named, _)| !named.is_empty());
    let counts: Vec<String> = counts
        .map(|(named, what)| format!("{} {what}", count(named.len() as u64, "file")))
        .collect();
    let mut shown = format!("{package} {version}: {}", counts.join(", "));
    if files.reinstalled {
        shown.push_str(", installed once more");
    }
    match files.still_missing.len() {
        0 => shown,
        number => format!("{shown}, {number} still missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::answers::read;
    use crate::cli::terminal::Terminal;
    use serde_json::{Value, json};

    fn shown(record: &Value) -> String {
        let view = View {
            terminal: Terminal {
                width: usize::MAX,
                colour: false,
            },
            utc: true,
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        };
        view.finished(&job(&read(record).unwrap(), &view))
    }

    #[test]
    fn nothing_to_do_is_said() {
        let record =
            |kind: &str| json!({"request": {"id": "x", "kind": kind}, "status": "succeeded"});
        assert_eq!(shown(&record("apply")), "job x: succeeded: nothing to do");
        assert_eq!(shown(&record("refresh")), "job x: succeeded");
    }

    #[test]
    fn no_line_is_told_twice() {
        let why = "demo.service failed";
        let summary = "the host is as it was before";
        let record = json!({
            "request": {"id": "x", "kind": "apply"}, "status": "failed",
            "error": format!("rolled back: {why}; and since then: no room"),
            "verification": [
                {"kind": "unit", "name": "demo.service", "required": true, "passed": false, "message": why},
                {"kind": "hook", "name": "web", "required": true, "passed": false, "message": "no answer"},
            ],
            "rollback": {"outcome": "failed", "summary": summary, "error": "no room"},
            "changes": [{"package": "a", "architecture": "all", "to": "1"}],
        });
        let text = shown(&record);
        for once in [why, summary, "no room"] {
            assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
        }
        assert!(text.contains("\n  hook web: no answer\n"), "{text}");
        assert!(text.contains("\n  a:all 1 is new\n"), "{text}");
    }
}
