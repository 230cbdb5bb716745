//! The one place that starts programs: environment, locale, process group, time limit, output.

mod agent;
mod cache;
mod carrier;
mod ending;
mod parent_guard;
mod pipe;
mod process_tree;
mod program;
mod run;
mod start;
mod supervise;
mod watch;

pub use agent::TtyAgent;
pub use carrier::Carrier;
pub use ending::{ExitReason, Finished};
pub use parent_guard::{end_leftovers, hold};
pub use process_tree::{Process, deepest};
pub use program::Program;
pub use run::READ_LIMIT;
pub use watch::{Line, OutputHandler};
