//! Applying updates: what is asked for, what the packages do meanwhile, and what it needs of the host.

mod core_services;
mod detection;
mod disk_space;
mod faulty_packages;
pub mod hanging_script;
mod locks;
mod manager_reexec;
mod moving_mirror;
mod pacman;
pub mod service_restarts;
mod targets;
mod without_systemd;
