//! Verification: what is compared after an update, and what the verdict follows from.

pub mod hooks;
pub mod verdict;
