//! The command line `patchctl`, on the host itself and on another one.

mod output;
mod remote;
pub mod schemas;
