//! The result: each trial in a line, and fault × point → outcome with counts.

use std::collections::BTreeMap;
use std::fmt;

use crate::judge::Verdict;
use crate::plan::{Point, Trial};

/// A trial and what came of it.
#[derive(Debug)]
pub struct Row {
    trial: Trial,
    verdict: Verdict,
}

impl Row {
    pub fn judged(trial: &Trial, verdict: Verdict) -> Self {
        Self {
            trial: *trial,
            verdict,
        }
    }

    /// The trial itself could not be made.
    pub fn died(trial: &Trial, why: &str) -> Self {
        let verdict = Verdict {
            outcome: "no result".to_owned(),
            violations: vec![why.to_owned()],
            ..Verdict::default()
        };
        Self::judged(trial, verdict)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:40} {}", self.trial.to_string(), self.verdict.outcome)?;
        if !self.verdict.notes.is_empty() {
            write!(f, " ({})", self.verdict.notes.join(", "))?;
        }
        for violation in &self.verdict.violations {
            write!(f, "\n    VIOLATION: {violation}")?;
        }
        Ok(())
    }
}

/// Every trial.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn violations(&self) -> usize {
        self.rows
            .iter()
            .map(|row| row.verdict.violations.len())
            .sum()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        for row in &self.rows {
            let place = match row.trial.point {
                Point::Phase(phase) => format!("{phase:?}").to_lowercase(),
                Point::Worker(_) => "a write of the worker".to_owned(),
                Point::Disk(_) => "any write of ours".to_owned(),
                Point::Unpack(_) => "a call of dpkg, unpacking".to_owned(),
                Point::Configure(_) => "a call of dpkg, configuring".to_owned(),
            };
            let anew = row.verdict.notes.iter().any(|note| note == "unpacked anew");
            let outcome = format!(
                "{}{}",
                row.verdict.outcome,
                if anew { ", unpacked anew" } else { "" }
            );
            let key = (format!("{:?}", row.trial.fault), place, outcome);
            *counts.entry(key).or_default() += 1;
        }
        writeln!(f, "{:11} {:28} {:38} trials", "fault", "point", "outcome")?;
        for ((fault, place, outcome), count) in &counts {
            writeln!(f, "{fault:11} {place:28} {outcome:38} {count:6}")?;
        }
        write!(f, "violations: {}", self.violations())
    }
}
