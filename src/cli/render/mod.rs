//! Records for people: lines and tables that fit the terminal, free of what could steer it.

mod fields;
mod job;
mod kept_back;
mod lists;
mod status;
mod table;
mod view;

pub use job::{asked, job};
pub use lists::{conflicts, jobs, plan, updates};
pub use status::{health, status};
pub use table::Table;
pub use view::View;
