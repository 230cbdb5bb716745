//! Stories: what the project promises, told from outside on booted hosts with the real tools.

// what a story calls panics, with all that is known
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod apply;
mod audit;
mod bus;
mod cli;
mod held;
mod instances;
mod package;
mod queue;
mod refresh;
mod story;
