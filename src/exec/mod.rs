//! The one place that starts programs: environment, locale, process group, time limit, output.

mod agent;
mod cache;
mod carrier;
mod descend;
mod ending;
mod leash;
mod pipe;
mod program;
mod run;
mod start;
mod supervise;
mod watch;

pub use agent::TtyAgent;
pub use carrier::Carrier;
pub use descend::{Process, deepest};
pub use ending::{Ending, Finished};
pub use leash::{end_leftovers, hold};
pub use program::Program;
pub use run::READ_LIMIT;
pub use watch::{Line, Watch};
