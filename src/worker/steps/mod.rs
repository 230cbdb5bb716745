//! One thing done to the host, or asked of it.

pub mod agent_probe;
pub mod disk_space;
pub mod download_ahead;
pub mod files;
pub mod foreign_shutdown;
pub mod gate;
pub mod hold_off;
pub mod mounts;
pub mod preconditions;
pub mod reexec;
pub mod refresh;
pub mod repair;
pub mod rollback;
pub mod services;
pub mod unit;
pub mod verify;
