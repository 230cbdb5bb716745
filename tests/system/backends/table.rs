//! The README's table of the stories: a row for each, a column for each package manager.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// One story.
pub struct Row {
    pub story: &'static str,
    /// The backends it is told with.
    pub told: &'static [&'static str],
    /// Those that it cannot be told with, and why.
    pub not: &'static [(&'static [&'static str], &'static str)],
}

/// The backends, with what the table calls them.
const COLUMNS: [(&str, &str); 6] = [
    ("apt", "apt"),
    ("dnf4", "dnf 4"),
    ("dnf5", "dnf 5"),
    ("zypper", "zypper"),
    ("pacman", "pacman"),
    ("apk", "apk (stand-in)"),
];

/// What the table stands between in the README.
const MARKS: [&str; 2] = [
    "<!-- made by `tests/run table` -->\n",
    "<!-- until here -->\n",
];

/// The table, and under it why some cells cannot be filled. `passed` is asked for a story and a backend.
pub fn of(rows: &[Row], passed: &dyn Fn(&str, &str) -> bool) -> String {
    let names = COLUMNS.map(|(_, name)| name).join(" | ");
    let mut text = format!("| what is shown | {names} |\n|---|");
    text.push_str(&":-:|".repeat(COLUMNS.len()));
    let mut reasons = Vec::new();
    for row in rows {
        let words = row.story.replace("_s_", "'s ").replace('_', " ");
        let _ = write!(text, "\n| {words} |");
        for (backend, _) in COLUMNS {
            let cell = match why_not(row, backend) {
                Some(why) => format!("–{}", superscript(number(&mut reasons, why))),
                None if !row.told.contains(&backend) => panic!("{}: {backend}?", row.story),
                None if passed(row.story, backend) => "✓".to_owned(),
                None => "**fails**".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
    }
    text.push_str("\n\n");
    for (place, why) in reasons.iter().enumerate() {
        let end = if place + 1 < reasons.len() {
            "; "
        } else {
            ".\n"
        };
        let _ = write!(text, "{} {why}{end}", superscript(place + 1));
    }
    text
}

fn why_not(row: &Row, backend: &str) -> Option<&'static str> {
    let reason = row.not.iter().find(|(names, _)| names.contains(&backend));
    reason.map(|(_, why)| *why)
}

/// The place of a reason among the footnotes, counted from 1.
fn number(reasons: &mut Vec<&'static str>, why: &'static str) -> usize {
    let place = reasons.iter().position(|known| *known == why);
    place.unwrap_or_else(|| {
        reasons.push(why);
        reasons.len() - 1
    }) + 1
}

fn superscript(number: usize) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = number.to_string().into_bytes().into_iter();
    digits
        .map(|digit| DIGITS[usize::from(digit - b'0')])
        .collect()
}

/// The stories that passed, each with its backend, by what the test program printed.
pub fn passed(output: &str) -> BTreeSet<(String, String)> {
    let passed = |line: &str| {
        let name = line.strip_prefix("test backends::")?;
        let (story, backend) = name.strip_suffix(" ... ok")?.split_once("::")?;
        Some((story.to_owned(), backend.to_owned()))
    };
    output.lines().filter_map(passed).collect()
}

/// The README with this table.
pub fn replaced(readme: &str, table: &str) -> String {
    let [begin, end] = MARKS;
    let (before, rest) = readme.split_once(begin).expect("no place for the table");
    let (_, after) = rest.split_once(end).expect("the table does not end");
    format!("{before}{begin}{table}{end}{after}")
}
