//! The fault campaign: a real update, broken at every point, and what has become of it afterwards.
//!
//! `tests/run campaign [SEED] [POINTS]`. A trial is one update of four packages on a booted host, one fault at
//! one point of it, and then the questions of `judge`. Which trials are made follows from the seed alone;
//! a violation fails the run, and names its trial.

// a trial that cannot go on says where, and stops
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod judge;
mod plan;
mod stage;
mod table;
mod trial;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use plan::Trial;
use stage::Stage;
use table::{Row, Table};

/// Trials of the short form.
const SHORT: usize = 12;

/// Hosts at a time.
const HOSTS: usize = 2;

fn main() -> ExitCode {
    let mut numbers = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .map(|argument| argument.parse().expect("SEED and POINTS are numbers"));
    let seed: u64 = numbers.next().unwrap_or(1);
    let points = numbers.next().map_or(SHORT, |points| {
        usize::try_from(points).expect("so many points")
    });
    let reach = Stage::new().calibrate();
    println!("{reach}");
    let trials = plan::trials(seed, points, &reach);
    let table = run(&trials);
    println!("seed {seed}, {} trials\n{table}", trials.len());
    if table.violations() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Makes every trial; a host is used again until something went wrong on it.
fn run(trials: &[Trial]) -> Table {
    let (next, table) = (AtomicUsize::new(0), Mutex::new(Table::default()));
    std::thread::scope(|scope| {
        for _ in 0..HOSTS {
            scope.spawn(|| {
                let mut stage = None;
                while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let row = attempt(&mut stage, trial);
                    println!("{row}");
                    table.lock().unwrap().add(row);
                }
            });
        }
    });
    table.into_inner().unwrap()
}

fn attempt(stage: &mut Option<Stage>, trial: &Trial) -> Row {
    let mut used = stage.take().unwrap_or_else(Stage::new);
    let result = catch_unwind(AssertUnwindSafe(|| trial::run(&mut used, trial)));
    match result {
        Ok(verdict) if verdict.violations.is_empty() => {
            *stage = Some(used);
            Row::judged(trial, verdict)
        }
        Ok(verdict) => Row::judged(trial, verdict),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Row::died(trial, &text.unwrap_or_default())
        }
    }
}
