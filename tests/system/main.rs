//! Stories: what the project promises, told from outside on booted hosts with the real tools.

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
