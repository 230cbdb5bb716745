//! What a worker must have on the disk, or in its hands, before it goes on.

pub mod context;
