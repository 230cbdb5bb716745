//! Rollback: from where former versions come, and what is as it was afterwards.

mod baseline;
mod blocked_versions;
mod former_versions;
mod moved_files;
mod without_apt;
