//! Measures against the raw tools, on hosts booted for it: everything in one run, judged by the ratio alone.
//!
//! `cargo bench` runs all of it; `cargo bench -- refresh apply dnf4 dnf5 zypper pacman reads queue progress size` only what is named. Nothing here
//! fails for being slow: the table says what is aimed at, and whether it was reached.

// a benchmark that cannot go on says where, and stops
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod hosts;
mod queue;
mod rpm;
mod stopwatch;
mod table;

use table::{Row, Unit};

/// Measures something.
type Part = fn() -> Vec<Row>;

/// The parts, by name.
const PARTS: &[(&str, Part)] = &[
    ("refresh", hosts::refresh_and_list),
    ("apply", hosts::apply_everything),
    ("dnf4", || rpm::apply(&rpm::DNF4)),
    ("dnf5", || rpm::apply(&rpm::DNF5)),
    ("zypper", || rpm::apply(&rpm::ZYPPER)),
    ("pacman", || rpm::apply(&rpm::PACMAN)),
    ("reads", hosts::property_reads),
    ("queue", queue::waiting_and_extra_requests),
    ("progress", queue::progress),
    ("size", hosts::binary),
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let parts = PARTS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name));
    let rows: Vec<Row> = parts.flat_map(|(_, measure)| measure()).collect();
    print!("{}", table::shown(&rows));
}
