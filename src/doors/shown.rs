//! What the command line shows of the records, for people; nothing of others' text reaches the terminal raw.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::journal::plain;

/// The whole picture.
pub fn shown_status(picture: &Value) -> String {
    let mut rows: Vec<(&str, String)> = vec![("Health", text(picture, "status").to_owned())];
    rows.extend(
        texts(picture, "reasons")
            .into_iter()
            .map(|reason| ("", plain(reason))),
    );
    let updated = match text(picture, "last_cache_update") {
        "" => "never".to_owned(),
        time => time.chars().take(19).collect::<String>() + " UTC",
    };
    rows.push((
        "Index",
        format!("{}, refreshed {updated}", text(picture, "cache_status")),
    ));
    for source in picture["sources"].as_array().into_iter().flatten() {
        let state = match text(source, "error") {
            "" => "ok".to_owned(),
            error => plain(error),
        };
        rows.push((
            "",
            format!("{} {}: {state}", text(source, "uri"), text(source, "suite")),
        ));
    }
    rows.push((
        "Pending",
        format!(
            "{} updates, {} of them security",
            number(picture, "pending_updates"),
            number(picture, "pending_security_updates"),
        ),
    ));
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

/// A job: how it ended, and what it changed.
pub fn shown_job(record: &Value) -> String {
    let id = text(&record["request"], "id");
    let mut shown = format!("job {id}: {}", text(record, "status"));
    if !text(record, "error").is_empty() {
        let _ = write!(shown, ": {}", plain(text(record, "error")));
    }
    for change in record["changes"].as_array().into_iter().flatten() {
        let (package, architecture) = (text(change, "package"), text(change, "architecture"));
        let (from, to) = (text(change, "from"), text(change, "to"));
        let _ = write!(shown, "\n  {package}:{architecture} {from} -> {to}");
    }
    for kept in record["kept_back"].as_array().into_iter().flatten() {
        let reason = plain(text(kept, "reason"));
        let _ = write!(
            shown,
            "\n  {} is kept back: {reason}",
            text(kept, "package")
        );
    }
    for note in texts(record, "notes") {
        let _ = write!(shown, "\n  note: {}", plain(note));
    }
    shown
}

/// A text of a record; empty when it has none.
pub fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or("")
}

/// A list of texts of a record.
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

/// Columns as wide as their widest cell.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(head[column].len())
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(ToString::to_string).collect();
    std::iter::once(line(&head))
        .chain(rows.iter().map(|row| line(row)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Says something beside the answer.
pub fn warn(text: &str) {
    use std::io::Write;
    // a closed standard error must not keep the answer back
    let _ = writeln!(std::io::stderr(), "patchctl: {text}");
}

/// Prints for people: whatever an archive or a maintainer script has put into it, a line does nothing
/// to the terminal.
pub fn show(text: &str) -> Result<()> {
    print(&text.lines().map(plain).collect::<Vec<_>>().join("\n"))
}

/// Prints for people or programs; a reader that has seen enough is no error.
pub fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => bail!("failed to write to standard output: {error}"),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_picture_for_people() {
        let shown = shown_status(&json!({
            "status": "degraded", "reasons": ["the last refresh failed: x\u{1b}[31m"],
            "cache_status": "failed", "phase": "success", "target": "all", "pending_updates": 3,
            "version": "2.0.0", "backend": "apt", "kept_back": [{"package": "a", "reason": "held"}],
        }));
        assert!(shown.contains("Health  degraded"));
        assert!(shown.contains("refreshed never"));
        assert!(!shown.contains('\u{1b}'));
    }
}
