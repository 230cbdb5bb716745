//! What the outside may call: authorise, convert, ask one function, answer. No door changes a
//! package; what is to be changed becomes an entry of the queue.

mod access;
mod ask;
pub mod client;
pub mod dbus;
mod door;
mod idle;
mod inquire;
pub mod picture;
mod polkit;
mod records;
mod shared;
mod tell;
mod told;
mod value;
pub mod varlink;
mod watch;

/// The bus name, and the name of the interface.
pub const BUS_NAME: &str = "org.linux_patch.Agent1";

/// The one object.
pub const OBJECT_PATH: &str = "/org/linux_patch/Agent1";
