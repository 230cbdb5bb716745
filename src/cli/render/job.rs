//! The record of a job: what it did, what spoke against that, how it was undone.

use serde_json::Value;

use super::fields::{count, list, name, text, texts};
use super::kept_back;
use super::lists::status;
use super::view::View;
use crate::journal::plain;

/// The record. What its error says is not said once more.
pub fn job(record: &Value, view: &View) -> String {
    let mut lines = vec![head(record)];
    lines.extend(list(record, "changes").map(change));
    let listed = format!("'patchctl log --json {}' names each", id(record));
    let kept = kept_back::summary(record, &listed);
    lines.extend(kept.into_iter().map(|line| format!("  {line}")));
    lines.extend(list(record, "hangs").map(|of| hang(of, view)));
    lines.extend(list(record, "outdated_services").map(outdated));
    if record["reboot"].is_object() {
        let reasons = texts(&record["reboot"], "reasons").join(", ");
        lines.push(format!("  a reboot follows: {reasons}"));
    }
    lines.extend(
        texts(record, "notes")
            .iter()
            .map(|note| format!("  note: {note}")),
    );
    lines.extend(undone(record));
    let lines = lines
        .iter()
        .map(|line| view.wrapped(&line.lines().map(plain).collect::<Vec<_>>().join(" ")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Who asked for the job, and when it ran.
pub fn asked(record: &Value, view: &View) -> String {
    let requester = &record["request"]["requester"];
    let user = requester["uid"]
        .as_u64()
        .map(|uid| format!(" by user {uid}"));
    let login = requester["login_uid"]
        .as_u64()
        .map(|uid| format!(", logged in as user {uid}"));
    let session = requester["session"]
        .as_str()
        .map(|id| format!(" in session {}", plain(id)));
    let parts = [user, login, session]
        .into_iter()
        .flatten()
        .collect::<String>();
    let mut lines = vec![format!(
        "  asked for at the door {}{parts}",
        plain(text(requester, "door"))
    )];
    for (key, what) in [("started_at", "started"), ("finished_at", "finished")] {
        let time = text(record, key);
        if !time.is_empty() {
            lines.push(format!("  {what} {}", view.time(time)));
        }
    }
    let lines = lines.iter().map(|line| view.wrapped(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn id(record: &Value) -> &str {
    text(&record["request"], "id")
}

/// The job, how it stands, and why; that it had nothing to do, where it had not.
fn head(record: &Value) -> String {
    let shown = format!("job {}: {}", id(record), status(text(record, "status")));
    let is_update = matches!(text(&record["request"], "kind"), "apply" | "update");
    let changed = list(record, "changes").next().is_some();
    match text(record, "error") {
        "" if is_update && text(record, "status") == "succeeded" && !changed => {
            format!("{shown}: nothing to do")
        }
        "" => shown,
        error => format!("{shown}: {error}"),
    }
}

fn change(change: &Value) -> String {
    let (name, from, to) = (name(change), text(change, "from"), text(change, "to"));
    match (from, to) {
        _ if change["rebuilt"].is_object() => format!("  {name} {to} rebuilt"),
        ("", to) => format!("  {name} {to} is new"),
        (from, "") => format!("  {name} {from} is gone"),
        (from, to) => format!("  {name} {from} -> {to}"),
    }
}

fn hang(hang: &Value, view: &View) -> String {
    let what = [text(hang, "script"), text(hang, "command")];
    let what = what.into_iter().find(|what| !what.is_empty());
    let what = what.unwrap_or("the package manager");
    let since = view.short_time(text(hang, "since"));
    match text(hang, "until") {
        "" => format!("  {what} hangs since {since}"),
        until => format!("  {what} hung from {since} to {}", view.short_time(until)),
    }
}

fn outdated(service: &Value) -> String {
    let unit = text(service, "unit");
    match text(service, "state") {
        "outdated" => format!("  {unit} still runs replaced files"),
        state => format!("  {unit} ran replaced files: {state}"),
    }
}

/// What spoke against an update, and how it was undone.
fn undone(record: &Value) -> Vec<String> {
    let error = text(record, "error");
    let mut lines = Vec::new();
    for check in list(record, "verification") {
        let message = text(check, "message");
        let is_told = !message.is_empty() && error.contains(message);
        if check["required"] == true && check["passed"] == false && !is_told {
            lines.push(format!(
                "  {} {}: {message}",
                text(check, "kind"),
                text(check, "name")
            ));
        }
    }
    for lost in list(record, "cannot_go_back") {
        let [package, version, reason] =
            ["package", "version", "reason"].map(|key| text(lost, key));
        lines.push(format!("  cannot go back: {package} {version}: {reason}"));
    }
    let rollback = &record["rollback"];
    if rollback.is_null() {
        return lines;
    }
    let outcome = text(rollback, "outcome").replace('_', " ");
    lines.push(match text(rollback, "summary") {
        // the record of an older version
        "" if rollback["as_before"] == true => {
            format!("  rollback: {outcome}, the host is as it was before")
        }
        "" => format!("  rollback: {outcome}"),
        summary if error.contains(summary) => format!("  rollback: {outcome}"),
        summary => format!("  rollback: {outcome}: {summary}"),
    });
    lines.extend(
        rollback["tool"]
            .as_str()
            .map(|tool| format!("    by {tool} alone")),
    );
    lines.extend(list(rollback, "files").map(|files| format!("    {}", files_of(files))));
    for (package, source) in rollback["sources"].as_object().into_iter().flatten() {
        let source = source.as_str().unwrap_or_default();
        lines.push(format!("    {package} from: {source}"));
    }
    let why = rollback["error"]
        .as_str()
        .filter(|why| !error.contains(why));
    lines.extend(why.map(|why| format!("    {why}")));
    lines
}

/// What was found of the files of a package that came back.
fn files_of(files: &Value) -> String {
    let of = |key: &str| texts(files, key).len() as u64;
    let (package, version) = (text(files, "package"), text(files, "version"));
    if let Some(why) = files["unknown"].as_str() {
        return format!("{package} {version}: its files could not be compared: {why}");
    }
    let counts = [(of("missing"), "missing"), (of("differing"), "differing")];
    let counts = counts.iter().filter(|(number, _)| *number > 0);
    let counts: Vec<String> = counts
        .map(|(number, what)| format!("{} {what}", count(*number, "file")))
        .collect();
    let mut shown = format!("{package} {version}: {}", counts.join(", "));
    if files["reinstalled"] == true {
        shown.push_str(", installed once more");
    }
    match of("still_missing") {
        0 => shown,
        number => format!("{shown}, {number} still missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Terminal;
    use serde_json::json;

    fn shown(record: &Value) -> String {
        let view = View {
            terminal: Terminal {
                width: usize::MAX,
                colour: false,
            },
            utc: true,
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        };
        view.finished(&job(record, &view))
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
            "changes": [{"package": "a", "architecture": "all", "from": null, "to": "1"}],
        });
        let text = shown(&record);
        for once in [why, summary, "no room"] {
            assert_eq!(text.matches(once).count(), 1, "{once}: {text}");
        }
        assert!(text.contains("\n  hook web: no answer\n"), "{text}");
        assert!(text.contains("\n  a:all 1 is new\n"), "{text}");
    }
}
