//! What the machine says of itself: its bus, its clocks, its service manager, its login
//! manager, our own service.

pub mod agent_client;
pub mod bus;
pub mod clock;
pub mod hook_dir;
pub mod identity;
pub mod kernel;
pub mod login;
pub mod logind;
mod manager;
pub mod processes;
pub mod systemd;
pub mod units;
pub mod watchers;
