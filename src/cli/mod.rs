//! The person's side: the grammar of the arguments, calls to the D-Bus service of this host or of another one, and
//! what is printed of the answers.

mod answers;
mod apply_options;
pub mod args;
mod client;
mod interrupt;
mod log;
mod render;
mod schema;
mod session;
mod terminal;
mod wait;
mod word;

pub use apply_options::{ApplyOptions, Waiting};
pub use args::Cli;
pub use client::Client;
pub use session::{NotReachable, Refused};
pub use terminal::Colours;
pub use wait::JobEnd;
