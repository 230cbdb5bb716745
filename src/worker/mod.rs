//! The only room that changes the host: takes the lock, drains the queue, writes the records.

pub mod alert_hooks;
mod bookkeeping;
#[cfg(test)]
mod frozen;
mod jobs;
mod model;
mod monitor;
mod planner;
mod serve;
mod steps;
mod transaction;

pub use crate::worker::bookkeeping::errors::RefreshFailed;
pub use crate::worker::model::lifecycle;
pub use crate::worker::planner::{
    answer as answer_inquiries, answer_left as answer_left_inquiries,
};
pub use crate::worker::serve::Worker;
pub use crate::worker::steps::{gate, rollback};
