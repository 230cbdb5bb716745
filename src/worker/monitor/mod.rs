//! What the child processes of a worker are reported to: progress, and silence.

pub mod progress;
pub mod stall;
