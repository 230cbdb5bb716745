//! Tables of updates and of jobs.

use serde_json::Value;

use super::fields::{list, name, text, texts};
use super::kept_back;
use super::table::Table;
use super::view::{Colour, View, painted};
use crate::journal::plain;

/// What a column says of an update.
type Cell<'a> = &'a dyn Fn(&Value) -> String;

/// The most advisories that a cell names.
const ADVISORIES: usize = 2;

/// The pending updates. What is not known of any of them has no column.
pub fn updates(updates: &[Value], view: &View) -> Table {
    let age = |update: &Value| view.age(text(update, "first_seen"));
    let columns: [(&str, Cell<'_>); 7] = [
        ("PACKAGE", &name),
        ("INSTALLED", &installed),
        ("CANDIDATE", &candidate),
        ("SIZE", &size),
        ("AGE", &age),
        ("ORIGIN", &origin),
        ("ADVISORIES", &advisories),
    ];
    let is_known = |cell: Cell<'_>| updates.iter().any(|u| !cell(u).is_empty());
    let columns = columns.into_iter().filter(|(_, cell)| is_known(cell));
    let (head, cells): (Vec<&str>, Vec<_>) = columns.unzip();
    let row = |update: &Value| cells.iter().map(|cell| cell(update)).collect();
    Table::new(&head, updates.iter().map(row))
}

fn installed(update: &Value) -> String {
    match text(update, "installed") {
        "" => "new".to_owned(),
        version => version.to_owned(),
    }
}

fn candidate(update: &Value) -> String {
    let candidate = text(update, "candidate");
    let is_same = candidate == text(update, "installed");
    let is_rebuilt = is_same && text(update, "former_architecture").is_empty();
    format!("{candidate}{}", if is_rebuilt { " (rebuilt)" } else { "" })
}

fn size(update: &Value) -> String {
    update["size"].as_u64().map_or_else(String::new, bytes)
}

fn origin(update: &Value) -> String {
    let origin = text(update, "origin");
    if update["security"] == Value::Bool(true) {
        painted(Colour::Warning, &format!("{origin} (security)"))
    } else {
        origin.to_owned()
    }
}

/// The first advisories, and how many more there are.
fn advisories(update: &Value) -> String {
    let names = texts(update, "advisories");
    let first = names[..names.len().min(ADVISORIES)].join(" ");
    match names.len().saturating_sub(ADVISORIES) {
        0 => first,
        more => format!("{first} +{more}"),
    }
}

/// `6.1 KiB`: with a tenth where one digit is before it.
fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB"];
    let (mut unit, mut scale) = (0, 1024_u64);
    while unit + 1 < units.len() && bytes >= scale * 1024 {
        (unit, scale) = (unit + 1, scale * 1024);
    }
    let unit = units[unit];
    match bytes {
        0..1024 => format!("{bytes} B"),
        _ if bytes < 10 * scale => {
            let tenths = bytes * 10 / scale;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        _ => format!("{} {unit}", bytes / scale),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Terminal;
    use serde_json::json;

    const VIEW: View = View {
        terminal: Terminal {
            width: usize::MAX,
            colour: false,
        },
        utc: true,
        now: chrono::DateTime::UNIX_EPOCH,
    };

    #[test]
    fn updates_are_shown_with_what_is_known_of_them() {
        let bare = json!({"package": "a", "architecture": "all", "candidate": "2", "origin": "x",
            "security": false, "advisories": []});
        let shown = VIEW.finished(&updates(std::slice::from_ref(&bare), &VIEW).shown(&VIEW));
        assert_eq!(
            shown,
            "PACKAGE  INSTALLED  CANDIDATE  ORIGIN\na:all    new        2          x"
        );
        let full = json!({"package": "b", "architecture": "all", "installed": "1", "candidate": "2", "origin": "x",
            "security": true, "size": 6300, "first_seen": "1969-12-30T00:00:00Z",
            "advisories": ["L-4", "L-3", "L-2", "L-1"]});
        let shown = VIEW.finished(&updates(&[bare, full], &VIEW).shown(&VIEW));
        assert_eq!(
            shown,
            "PACKAGE  INSTALLED  CANDIDATE  SIZE     AGE     ORIGIN        ADVISORIES\n\
             a:all    new        2                           x\n\
             b:all    1          2          6.1 KiB  2 days  x (security)  L-4 L-3 +2"
        );
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (number, shown) in [
            (512, "512 B"),
            (1024, "1.0 KiB"),
            (10 * 1024, "10 KiB"),
            (1024 * 1024 - 1, "1023 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (5 << 40, "5120 GiB"),
        ] {
            assert_eq!(bytes(number), shown);
        }
    }

    /// What is kept back is counted where it is much, and named only where that is wanted.
    #[test]
    fn a_plan_names_what_is_kept_back_where_each_is_wanted() {
        let kept = (0..30)
            .map(|n| json!({"package": format!("p{n}"), "cause": "rolled_back", "reason": "r"}));
        let of = |updates: Value| json!({"updates": updates, "kept_back": kept.clone().collect::<Value>()});
        let update =
            json!([{"package": "a", "architecture": "all", "candidate": "2", "origin": "x"}]);
        for (updates, first) in [(json!([]), "nothing to do"), (update, "PACKAGE")] {
            let plan_of = |each| plan(&of(updates.clone()), each, &VIEW);
            let (counted, each) = (plan_of(false), plan_of(true));
            assert!(
                counted.starts_with(first) && each.starts_with(first),
                "{counted}"
            );
            assert!(
                counted.contains("--kept-back") && !counted.contains("p29"),
                "{counted}"
            );
            assert!(!each.contains("--kept-back"), "{each}");
            for n in 0..30 {
                assert!(each.contains(&format!("p{n}")), "{each}");
            }
        }
    }
}
