//! What a worker must have on the disk, or in its hands, before it goes on.

pub mod alerts;
pub mod blocked;
pub mod context;
pub mod errors;
pub mod in_flight;
pub mod intent;
pub mod job_result;
pub mod package_store;
pub mod phase;
pub mod shutdown;
