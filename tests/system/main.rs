//! Stories: what the project promises, told from outside on booted hosts with the real tools.

// a story that cannot go on says where, and stops
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod api;
mod apply;
mod backends;
mod cli;
mod job;
mod packaging;
mod queue;
mod reboot;
mod recover;
mod refresh;
mod rollback;
mod self_update;
mod story;
mod verify;
