//! The stress run: everything that can be asked for, by eight clients at once, while workers are killed and new versions come out.
//!
//! `tests/run stress [SEED] [SECONDS]`. What is asked for, published and killed follows from the seed alone; how
//! it interleaves does not. All clients act for a quarter of a minute at a time; then the host comes to rest, and
//! the judges of `judge` look at it. A violation is printed with what led to it, and fails the run.

// a run that cannot go on says where, and stops
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod ask;
mod front_ends;
mod judge;
mod plan;
mod round;
mod stage;
mod trace;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use judge::Violation;
use plan::{CLIENTS, Client, Killer, Publisher};
use round::{Cast, Run};

/// How long the short form lasts, besides what it takes to come to rest.
const SHORT: u64 = 60;

/// How long the clients act at a time.
const ROUND: u64 = 15;

fn main() -> ExitCode {
    let mut numbers = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .map(|argument| argument.parse().expect("SEED and SECONDS are numbers"));
    let seed: u64 = numbers.next().unwrap_or(1);
    let seconds: u64 = numbers.next().unwrap_or(SHORT);
    println!("seed {seed}, {seconds} s");
    let mut run = Run::new();
    let mut cast = Cast {
        clients: (0..CLIENTS)
            .map(|number| Client::new(seed, number))
            .collect(),
        publisher: Publisher::new(seed),
        killer: Killer::new(seed),
    };
    let mut violations = Vec::new();
    let mut left = seconds;
    while left > 0 && violations.is_empty() {
        let time = left.min(ROUND);
        violations = run.round(&mut cast, Duration::from_secs(time));
        left -= time;
    }
    if violations.is_empty() {
        violations = run.end();
    }
    print!("{}{}", run.trace.table(), run.front_ends.shown());
    for (what, count) in run.outcomes() {
        println!("{count:6} jobs: {what}");
    }
    println!("violations: {}", violations.len());
    if violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    tell(&run, &violations);
    println!("again: tests/run stress {seed} {seconds}");
    ExitCode::FAILURE
}

/// So many violations are told with what led to them: the others follow from the same, most often.
const TOLD: usize = 5;

fn tell(run: &Run, violations: &[Violation]) {
    for violation in violations {
        println!("VIOLATION: {}", violation.what);
    }
    println!("\nthe last that was done:\n{}", run.trace.shown(&[], 60));
    let with_words = violations
        .iter()
        .filter(|violation| !violation.about.is_empty());
    for Violation { what, about } in with_words.take(TOLD) {
        println!("\nVIOLATION: {what}\n  {}:", about.join(", "));
        println!("{}", run.trace.shown(about, 30));
        println!("  in the journal:\n{}", run.stage.journal_about(about, 60));
    }
}
