//! The refresh: what it fetches and accepts, what fails it, and what is then known of the updates.

mod apt_lists;
mod download_ahead;
pub mod outcome;
mod pending;
mod rpm_and_pacman_lists;
mod sources;
mod time_limits;
