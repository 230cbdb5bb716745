//! Reboots and shutdowns: the ones that follow an update, and the ones that an update waits for.

mod after_update;
mod scheduled_shutdown;
