//! The queue: how requests wait, in which order they are served, and what a hostile entry achieves.

mod entries;
mod instance_names;
mod long_queue;
mod parked;
