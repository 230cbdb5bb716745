//! One transaction: planned, let through the gate, run, judged, and what it means for the jobs it served.

pub mod attempt;
pub mod conclude;
pub mod finish;
pub mod outcome;
pub mod plan;
pub mod unfinished;
