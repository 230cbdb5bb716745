//! Reads the sources of a crate: its tokens, its imports, its functions and its calls.
//!
//! ```text
//! text ─► tokens ─► files (modules, without their tests) ─► paths (what a name means) ─► imports ─► circles
//!                                                        └► functions, items          └► calls ─► journeys
//! ```
//!
//! The reader knows as much Rust as it needs for code that rustfmt has formatted. It does not infer types: what a
//! method call leads to is decided by the name (see [`Calls`]).

mod calls;
mod circles;
mod files;
mod functions;
mod imports;
mod items;
mod journey;
mod paths;
mod tokens;

pub use calls::Calls;
pub use circles::circles;
pub use files::{File, Sources};
pub use functions::{Function, functions};
pub use imports::{Import, imports};
pub use items::{Items, items};
pub use journey::{Journey, journey};
