//! The only room that changes the host: takes the lock, drains the queue, writes the records.
//!
//! Its floors, each of which calls only the ones below it (`tests/architecture.rs` holds the code to this list):
//!
//! | floor | what is on it |
//! |---|---|
//! | `alert_hooks`, `planner`, `serve` | the entries: what a unit of ours runs |
//! | `jobs` | the jobs of one batch: which share a transaction, and with what result each ends |
//! | `transaction` | one transaction: planned, let through the gate, run, judged |
//! | `steps` | one thing done to the host, or asked of it |
//! | `monitor` | what the child processes of a worker are reported to |
//! | `bookkeeping` | what a worker must have on the disk, or in its hands, before it goes on |
//! | `model` | values in, values out |

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
