//! The command line `patchctl`, on the host itself and on another one.

mod manual;
mod output;
mod remote;
pub mod schemas;
mod terminal;
