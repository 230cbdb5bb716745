//! The one place that starts programs: environment, locale, process group, time limit, output.

mod cache;
mod exit_reason;
mod output_handler;
mod parent_guard;
mod pipe;
mod process_tree;
mod program;
mod run;
mod start;
mod supervise;
mod transport;
mod tty_agent;

pub use exit_reason::{ExitReason, Finished};
pub use output_handler::{Line, OutputHandler};
pub use parent_guard::{end_leftovers, run_guarded};
pub use process_tree::{ProcessInfo, deepest_descendant};
pub use program::Program;
pub use run::READ_LIMIT;
pub use transport::Transport;
pub use tty_agent::TtyAgent;
