//! Interruptions and damage: what the next worker finds, and how every job still gets its result.

mod damaged_records;
mod failing_disk;
mod interrupted;
mod large_host;
mod orphaned_records;
mod partly_applied;
mod power_cut;
mod records_of_newer_version;
mod wrong_clock;
