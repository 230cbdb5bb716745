//! What the child processes of a worker are reported to.

pub mod applying;
pub mod observer;
pub mod progress;
pub mod stall;
