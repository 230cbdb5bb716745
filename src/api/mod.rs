//! The front ends: each authorises the caller, converts the arguments, calls one function and answers. No front end
//! changes a package; a requested change becomes an entry of the queue.

mod access;
mod caller;
pub mod dbus;
mod deferred;
mod facts;
mod idle;
mod inquire;
mod operations;
mod polkit;
mod records;
mod service;
mod shared;
mod stamps;
pub mod status;
pub mod status_cache;
pub(crate) mod value;
pub mod varlink;
mod watch;

pub use caller::own_login;

/// The bus name, and the name of the interface.
pub const BUS_NAME: &str = "org.linux_patch.Agent1";

/// The one object.
pub const OBJECT_PATH: &str = "/org/linux_patch/Agent1";
