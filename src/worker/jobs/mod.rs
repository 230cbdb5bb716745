//! The jobs of one batch: which share a transaction, and with what result each ends.

pub mod batch;
pub mod commands;
pub mod crash_limit;
pub mod orphans;
pub mod reboot;
pub mod record;
pub mod recover;
pub mod retention;
pub mod sandbox;
pub mod undo;
