//! Stories: what the project promises, told from outside on booted hosts with the real tools.

// a story that cannot go on says where, and stops
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod alerts;
mod apk;
mod apply;
mod audit;
mod backends;
mod backlog;
mod blocked;
mod bus;
mod cli;
mod detection;
mod direct;
mod disk;
mod faults;
mod fetch;
mod held;
mod instances;
mod interrupt;
mod job;
mod limits;
mod locks;
mod own;
mod package;
mod pacman;
mod parts;
mod powercut;
mod queue;
mod reboot;
mod records;
mod refresh;
mod remote;
mod restarted;
mod rollback;
mod rpm;
mod services;
mod signals;
mod sources;
mod space;
mod stage;
mod story;
mod stuck;
mod takeover;
mod varlink;
mod verify;
