//! Records for people: lines and tables, free of what could steer a terminal.

use std::fmt::Write as _;

use serde_json::Value;

use crate::journal::plain;

/// The picture of a host.
pub fn status(picture: &Value) -> String {
    let mut rows: Vec<(&str, String)> = vec![("Health", text(picture, "status").to_owned())];
    rows.extend(
        texts(picture, "reasons")
            .into_iter()
            .map(|reason| ("", plain(reason))),
    );
    for alert in picture["alerts"].as_array().into_iter().flatten() {
        let since = text(alert, "since").chars().take(19).collect::<String>();
        rows.push(("Alert", format!("{} since {since} UTC", text(alert, "key"))));
    }
    let updated = match text(picture, "last_cache_update") {
        "" => "never".to_owned(),
        time => time.chars().take(19).collect::<String>() + " UTC",
    };
    rows.push((
        "Index",
        format!("{}, refreshed {updated}", text(picture, "cache_status")),
    ));
    rows.extend(sources(picture));
    pending(picture, &mut rows);
    for kept in picture["kept_back"].as_array().into_iter().flatten() {
        let reason = plain(text(kept, "reason"));
        rows.push((
            "",
            format!("{} is kept back: {reason}", text(kept, "package")),
        ));
    }
    let target = text(picture, "target");
    rows.push((
        "Last update",
        format!("{} {target}", text(picture, "phase")),
    ));
    if !text(picture, "current_job").is_empty() {
        let progress = number(picture, "progress");
        rows.push((
            "Running",
            format!("{} ({progress} %)", text(picture, "current_job")),
        ));
    }
    rows.push((
        "Queue",
        format!("{} waiting", number(picture, "queue_length")),
    ));
    let reboot = texts(picture, "reboot_reasons");
    let reboot = if reboot.is_empty() {
        "not required".to_owned()
    } else {
        plain(&reboot.join(", "))
    };
    rows.push(("Reboot", reboot));
    rows.extend(shutdown(picture).map(|scheduled| ("", scheduled)));
    match text(picture, "reboot_waits") {
        "" => {}
        why => rows.push(("", format!("one that was asked for waits: {}", plain(why)))),
    }
    for service in picture["outdated_services"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let (unit, file) = (text(service, "unit"), texts(service, "files"));
        let file = plain(file.first().copied().unwrap_or(""));
        let advice = match text(service, "advice") {
            "" => String::new(),
            advice => format!(" (replaced by: {})", plain(advice)),
        };
        rows.push((
            "Outdated",
            format!(
                "{} runs {file} as it was before an update{advice}",
                plain(unit)
            ),
        ));
    }
    rows.push((
        "Version",
        format!(
            "{} ({})",
            text(picture, "version"),
            text(picture, "backend")
        ),
    ));
    let line = |(label, value): &(&str, String)| format!("{label:>12}  {value}");
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What is pending, in figures.
fn pending(picture: &Value, rows: &mut Vec<(&str, String)>) {
    rows.push((
        "Pending",
        format!(
            "{} updates, {} of them security{}",
            number(picture, "pending_updates"),
            number(picture, "pending_security_updates"),
            new_packages(number(picture, "pending_new_packages")),
        ),
    ));
    match number(picture, "kept_back_security_updates") {
        0 => {}
        1 => rows.push(("", "1 security update is kept back".to_owned())),
        count => rows.push(("", format!("{count} security updates are kept back"))),
    }
}

/// The packages that the pending updates need newly.
fn new_packages(count: u64) -> String {
    match count {
        0 => String::new(),
        1 => ", and 1 new package that they need".to_owned(),
        count => format!(", and {count} new packages that they need"),
    }
}

/// The package sources, and what went wrong beside the last refresh.
fn sources(picture: &Value) -> Vec<(&'static str, String)> {
    let sources = picture["sources"].as_array().into_iter().flatten();
    let state = |source: &Value| match text(source, "error") {
        "" => "ok".to_owned(),
        error => plain(error),
    };
    let row = |source: &Value| {
        let (uri, suite) = (text(source, "uri"), text(source, "suite"));
        ("", format!("{uri} {suite}: {}", state(source)))
    };
    let notes = texts(picture, "notes").into_iter();
    let notes = notes.map(|note| ("Note", plain(note)));
    sources.map(row).chain(notes).collect()
}

/// What is scheduled; a host of an older version says it of reboots alone.
fn shutdown(picture: &Value) -> Option<String> {
    let scheduled = &picture["scheduled_shutdown"];
    let at = match text(scheduled, "at") {
        "" => text(picture, "scheduled_reboot"),
        at => at,
    };
    let what = match text(scheduled, "mode") {
        "" | "reboot" => "",
        mode => mode,
    };
    let by = match scheduled["uid"]
        .as_u64()
        .filter(|_| scheduled["ours"] == false)
    {
        Some(uid) => format!(" by user {uid}"),
        None => String::new(),
    };
    let at = at.chars().take(19).collect::<String>();
    let shown = format!("{} scheduled for {at} UTC{by}", plain(what));
    (!at.is_empty()).then(|| shown.trim_start().to_owned())
}

/// The record of a job.
pub fn job(record: &Value) -> String {
    let id = text(&record["request"], "id");
    let mut shown = format!("job {id}: {}", text(record, "status"));
    if !text(record, "error").is_empty() {
        let _ = write!(shown, ": {}", plain(text(record, "error")));
    }
    for change in record["changes"].as_array().into_iter().flatten() {
        let (from, to) = (text(change, "from"), text(change, "to"));
        let name = name(change);
        let _ = if change["rebuilt"].is_object() {
            write!(shown, "\n  {name} {to} rebuilt")
        } else {
            write!(shown, "\n  {name} {from} -> {to}")
        };
    }
    for kept in record["kept_back"].as_array().into_iter().flatten() {
        let reason = plain(text(kept, "reason"));
        let _ = write!(
            shown,
            "\n  {} is kept back: {reason}",
            text(kept, "package")
        );
    }
    for hang in record["hangs"].as_array().into_iter().flatten() {
        let what = [text(hang, "script"), text(hang, "command")];
        let what = what.into_iter().find(|what| !what.is_empty());
        let what = plain(what.unwrap_or("the package manager"));
        let time = |key: &str| text(hang, key).chars().take(19).collect::<String>();
        let _ = match (time("since"), time("until")) {
            (since, until) if until.is_empty() => {
                write!(shown, "\n  {what} hangs since {} UTC", plain(&since))
            }
            (since, until) => {
                let (since, until) = (plain(&since), plain(&until));
                write!(shown, "\n  {what} hung from {since} to {until} UTC")
            }
        };
    }
    for service in record["outdated_services"].as_array().into_iter().flatten() {
        let (unit, state) = (plain(text(service, "unit")), text(service, "state"));
        let _ = match state {
            "outdated" => write!(shown, "\n  {unit} still runs replaced files"),
            state => write!(shown, "\n  {unit} ran replaced files: {state}"),
        };
    }
    if let Some(reboot) = record["reboot"].as_object() {
        let reasons = texts(&Value::Object(reboot.clone()), "reasons").join(", ");
        let _ = write!(shown, "\n  a reboot follows: {}", plain(&reasons));
    }
    for note in texts(record, "notes") {
        let _ = write!(shown, "\n  note: {}", plain(note));
    }
    undone(&mut shown, record);
    shown
}

/// What spoke against an update, and how it was undone.
fn undone(shown: &mut String, record: &Value) {
    for check in record["verification"].as_array().into_iter().flatten() {
        if check["required"] == true && check["passed"] == false {
            let (kind, message) = (text(check, "kind"), plain(text(check, "message")));
            let _ = write!(
                shown,
                "\n  {kind} {}: {message}",
                plain(text(check, "name"))
            );
        }
    }
    for lost in record["cannot_go_back"].as_array().into_iter().flatten() {
        let of = |key: &str| plain(text(lost, key));
        let _ = write!(
            shown,
            "\n  cannot go back: {} {}: {}",
            of("package"),
            of("version"),
            of("reason")
        );
    }
    let rollback = &record["rollback"];
    if rollback.is_null() {
        return;
    }
    let outcome = text(rollback, "outcome").replace('_', " ");
    let _ = write!(shown, "\n  rollback: {outcome}");
    match text(rollback, "summary") {
        // the record of an older version
        "" if rollback["as_before"] == true => shown.push_str(", the host is as it was before"),
        "" => {}
        summary => drop(write!(shown, ": {}", plain(summary))),
    }
    if let Some(tool) = rollback["tool"].as_str() {
        let _ = write!(shown, "\n    by {} alone", plain(tool));
    }
    for files in rollback["files"].as_array().into_iter().flatten() {
        let _ = write!(shown, "\n    {}", files_of(files));
    }
    for (package, source) in rollback["sources"].as_object().into_iter().flatten() {
        let source = source.as_str().unwrap_or_default();
        let _ = write!(shown, "\n    {} from: {source}", plain(package));
    }
    if let Some(error) = rollback["error"].as_str() {
        let _ = write!(shown, "\n    {}", plain(error));
    }
}

/// A package with its architecture, and that which it had before, where that was another one.
fn name(of: &Value) -> String {
    let (package, architecture) = (text(of, "package"), text(of, "architecture"));
    match text(of, "former_architecture") {
        "" => format!("{package}:{architecture}"),
        former => format!("{package}:{architecture} (was {former})"),
    }
}

/// What was found of the files of a package that came back.
fn files_of(files: &Value) -> String {
    let of = |key: &str| texts(files, key).len();
    let (package, version) = (plain(text(files, "package")), plain(text(files, "version")));
    let mut shown = format!("{package} {version}: ");
    if let Some(why) = files["unknown"].as_str() {
        let _ = write!(shown, "its files could not be compared: {}", plain(why));
        return shown;
    }
    let counts = [(of("missing"), "missing"), (of("differing"), "differing")];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, what)| format!("{count} files {what}"))
        .collect();
    shown.push_str(&counts.join(", "));
    if files["reinstalled"] == true {
        shown.push_str(", installed once more");
    }
    match of("still_missing") {
        0 => {}
        count => drop(write!(shown, ", {count} still missing")),
    }
    shown
}

/// A text of a record; empty when it is not there.
pub fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or("")
}

/// A list of texts.
pub fn texts<'a>(record: &'a Value, key: &str) -> Vec<&'a str> {
    record[key]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn number(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or(0)
}

/// The pending updates.
pub fn updates(updates: &[Value]) -> Table {
    let row = |update: &Value| {
        let security = if update["security"] == Value::Bool(true) {
            " (security)"
        } else {
            ""
        };
        let from = match text(update, "installed") {
            "" => "new",
            version => version,
        };
        let candidate = text(update, "candidate");
        let is_rebuilt = candidate == from && text(update, "former_architecture").is_empty();
        vec![
            name(update),
            from.to_owned(),
            format!("{candidate}{}", if is_rebuilt { " (rebuilt)" } else { "" }),
            format!("{}{security}", text(update, "origin")),
        ]
    };
    Table::new(
        &["PACKAGE", "INSTALLED", "CANDIDATE", "ORIGIN"],
        updates.iter().map(row),
    )
}

/// What an apply would do.
pub fn plan(plan: &Value) -> String {
    let planned = plan["updates"].as_array().cloned().unwrap_or_default();
    let mut shown = if planned.is_empty() {
        "nothing to do".to_owned()
    } else {
        updates(&planned).to_string()
    };
    for kept in plan["kept_back"].as_array().into_iter().flatten() {
        let reason = plain(text(kept, "reason"));
        let _ = write!(shown, "\n{} is kept back: {reason}", text(kept, "package"));
    }
    shown
}

/// Jobs, one a line.
pub fn jobs(jobs: &[Value]) -> Table {
    let row = |job: &Value| {
        let request = &job["request"];
        vec![
            text(request, "id").to_owned(),
            text(request, "kind").to_owned(),
            texts(request, "packages").join(" "),
            text(job, "status").to_owned(),
            text(job, "finished_at").chars().take(19).collect(),
        ]
    };
    Table::new(
        &["JOB", "KIND", "PACKAGES", "STATUS", "FINISHED (UTC)"],
        jobs.iter().map(row),
    )
}

/// Conflicts, one a line.
pub fn conflicts(jobs: &[Value]) -> Table {
    let row = |job: &Value| {
        let request = &job["request"];
        vec![
            text(request, "id").to_owned(),
            texts(request, "packages").join(" "),
            plain(text(job, "error")),
        ]
    };
    Table::new(&["JOB", "PACKAGES", "CONFLICT"], jobs.iter().map(row))
}

/// Rows whose columns are as wide as their widest cell.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Self {
        let head = head.iter().map(ToString::to_string).collect();
        Self {
            rows: std::iter::once(head).chain(rows).collect(),
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .map(move |row| row[column].chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_picture_for_people() {
        let shown = status(&json!({
            "status": "degraded", "reasons": ["the last refresh failed: x\u{1b}[31m"],
            "cache_status": "failed", "phase": "success", "target": "all", "pending_updates": 3,
            "version": "2.0.0", "backend": "apt", "kept_back": [{"package": "a", "reason": "held"}],
        }));
        let with = |key: &str, value: Value| status(&json!({"phase": "idle", key: value}));
        let scheduled = |mode: &str, ours: bool| {
            let at = "2026-01-02T03:04:05Z";
            let shutdown = json!({"mode": mode, "at": at, "uid": 0, "ours": ours});
            with("scheduled_shutdown", shutdown)
        };
        assert!(scheduled("reboot", true).contains("  scheduled for 2026-01-02T03:04:05 UTC\n"));
        assert!(
            scheduled("poweroff", false)
                .contains("  poweroff scheduled for 2026-01-02T03:04:05 UTC by user 0\n")
        );
        assert!(with("reboot_waits", json!("x")).contains("one that was asked for waits: x"));
        assert!(shown.contains("Health  degraded"));
        assert!(shown.contains("refreshed never"));
        assert!(!shown.contains('\u{1b}'));
    }
}
