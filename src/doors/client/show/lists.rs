//! Tables of updates and of jobs.

use serde_json::Value;

use super::view::{Colour, View, painted};
use super::{Table, kept_back, list, name, text, texts};
use crate::journal::plain;

/// The pending updates.
pub fn updates(updates: &[Value], _view: &View) -> Table {
    let row = |update: &Value| {
        let from = match text(update, "installed") {
            "" => "new",
            version => version,
        };
        let candidate = text(update, "candidate");
        let is_rebuilt = candidate == from && text(update, "former_architecture").is_empty();
        let origin = text(update, "origin");
        vec![
            name(update),
            from.to_owned(),
            format!("{candidate}{}", if is_rebuilt { " (rebuilt)" } else { "" }),
            if update["security"] == Value::Bool(true) {
                painted(Colour::Warning, &format!("{origin} (security)"))
            } else {
                origin.to_owned()
            },
        ]
    };
    Table::new(
        &["PACKAGE", "INSTALLED", "CANDIDATE", "ORIGIN"],
        updates.iter().map(row),
    )
}

/// What an apply would do. What is kept back is counted where it is much, unless each is wanted.
pub fn plan(plan: &Value, each: bool, view: &View) -> String {
    let planned: Vec<Value> = list(plan, "updates").cloned().collect();
    let first = if planned.is_empty() {
        "nothing to do".to_owned()
    } else {
        updates(&planned, view).shown(view)
    };
    let kept = if each {
        kept_back::each(plan)
    } else {
        kept_back::summary(plan, "'--kept-back' lists each")
    };
    let kept = kept.iter().map(|line| view.wrapped(line));
    std::iter::once(first)
        .chain(kept)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Jobs, one a line.
pub fn jobs(jobs: &[Value], view: &View) -> Table {
    let row = |job: &Value| {
        let request = &job["request"];
        vec![
            text(request, "id").to_owned(),
            text(request, "kind").to_owned(),
            texts(request, "packages").join(" "),
            status(text(job, "status")),
            view.short_time(text(job, "finished_at")),
        ]
    };
    Table::new(
        &["JOB", "KIND", "PACKAGES", "STATUS", "FINISHED"],
        jobs.iter().map(row),
    )
}

/// The status of a job, in its colour.
pub fn status(status: &str) -> String {
    match status {
        "succeeded" => painted(Colour::Good, status),
        "failed" => painted(Colour::Bad, status),
        "deferred" | "conflict" => painted(Colour::Warning, status),
        other => other.to_owned(),
    }
}

/// Conflicts, one a line.
pub fn conflicts(jobs: &[Value], _view: &View) -> Table {
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
