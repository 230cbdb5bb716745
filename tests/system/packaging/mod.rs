//! The packages of this program: what they install, how they upgrade, and what a removal leaves.

pub mod debian;
mod rpm;
