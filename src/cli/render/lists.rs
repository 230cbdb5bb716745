//! Tables of updates and of jobs.

use super::fields::Named;
use super::kept_back;
use super::table::Table;
use super::view::{Colour, View, painted};
use crate::cli::answers::{JobAnswer, PlanAnswer, UpdateAnswer};
use crate::cli::word::Word;
use crate::journal::plain;
use crate::state::job::JobStatus;

/// What a column says of an update.
type Cell<'a> = &'a dyn Fn(&UpdateAnswer) -> String;

/// The most advisories that a cell names.
const ADVISORIES: usize = 2;

/// The pending updates. What is not known of any of them has no column.
pub fn updates(updates: &[UpdateAnswer], view: &View) -> Table {
    let age = |update: &UpdateAnswer| view.age(update.first_seen);
    let columns: [(&str, Cell<'_>); 7] = [
        ("PACKAGE", &UpdateAnswer::name),
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
    let row = |update: &UpdateAnswer| cells.iter().map(|cell| cell(update)).collect();
    Table::new(&head, updates.iter().map(row))
}

fn installed(update: &UpdateAnswer) -> String {
    match update.installed.as_str() {
        "" => "new".to_owned(),
        version => version.to_owned(),
    }
}

fn candidate(update: &UpdateAnswer) -> String {
    let candidate = &update.candidate;
    let is_rebuilt = *candidate == update.installed && update.former_architecture.is_empty();
    format!("{candidate}{}", if is_rebuilt { " (rebuilt)" } else { "" })
}

fn size(update: &UpdateAnswer) -> String {
    update.size.map_or_else(String::new, bytes)
}

fn origin(update: &UpdateAnswer) -> String {
    if update.security {
        painted(Colour::Warning, &format!("{} (security)", update.origin))
    } else {
        update.origin.clone()
    }
}

/// The first advisories, and how many more there are.
fn advisories(update: &UpdateAnswer) -> String {
    let names = &update.advisories;
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

/// What an apply would do. Many packages that are kept back are counted, unless `each` asks for all of them.
pub fn plan(plan: &PlanAnswer, each: bool, view: &View) -> String {
    let first = if plan.updates.is_empty() {
        "nothing to do".to_owned()
    } else {
        updates(&plan.updates, view).shown(view)
    };
    let kept = if each {
        kept_back::each(&plan.kept_back)
    } else {
        kept_back::summary(&plan.kept_back, "'--kept-back' lists each")
    };
    let kept = kept.iter().map(|line| view.wrapped(line));
    std::iter::once(first)
        .chain(kept)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Jobs, one a line.
pub fn jobs(jobs: &[JobAnswer], view: &View) -> Table {
    let row = |job: &JobAnswer| {
        let request = &job.request;
        vec![
            request.id.clone(),
            request.kind.to_string(),
            request.packages.join(" "),
            status(&job.status),
            view.short_time(job.finished_at),
        ]
    };
    Table::new(
        &["JOB", "KIND", "PACKAGES", "STATUS", "FINISHED"],
        jobs.iter().map(row),
    )
}

/// The status of a job, in its colour.
pub fn status(status: &Word<JobStatus>) -> String {
    let text = status.to_string();
    match status {
        Word::Known(JobStatus::Succeeded) => painted(Colour::Good, &text),
        Word::Known(JobStatus::Failed) => painted(Colour::Bad, &text),
        Word::Known(JobStatus::Deferred | JobStatus::Conflict) => painted(Colour::Warning, &text),
        _ => text,
    }
}

/// Conflicts, one a line.
pub fn conflicts(jobs: &[JobAnswer], _view: &View) -> Table {
    let row = |job: &JobAnswer| {
        vec![
            job.request.id.clone(),
            job.request.packages.join(" "),
            plain(&job.error),
        ]
    };
    Table::new(&["JOB", "PACKAGES", "CONFLICT"], jobs.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::answers::read;
    use crate::cli::terminal::Terminal;
    use serde_json::{Value, json};

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
        let shown = |all: Value| {
            VIEW.finished(&updates(&read::<Vec<_>>(&all).unwrap(), &VIEW).shown(&VIEW))
        };
        let shown_bare = shown(json!([bare]));
        assert_eq!(
            shown_bare,
            "PACKAGE  INSTALLED  CANDIDATE  ORIGIN\na:all    new        2          x"
        );
        let full = json!({"package": "b", "architecture": "all", "installed": "1", "candidate": "2", "origin": "x",
            "security": true, "size": 6300, "first_seen": "1969-12-30T00:00:00Z",
            "advisories": ["L-4", "L-3", "L-2", "L-1"]});
        assert_eq!(
            shown(json!([bare, full])),
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
            let plan_of = |each| plan(&read(&of(updates.clone())).unwrap(), each, &VIEW);
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
