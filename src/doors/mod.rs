//! What the outside may call: authorise, convert, ask one function, answer. No door changes a
//! package; what is to be changed becomes an entry of the queue.

mod access;
mod alert_cursor;
mod ask;
mod caller;
pub mod client;
pub mod dbus;
mod deferred;
mod door;
mod facts;
mod idle;
mod inquire;
pub mod picture;
pub mod pictures;
mod polkit;
mod records;
mod shared;
mod stamps;
mod tell;
mod value;
pub mod varlink;
mod watch;

pub use caller::own_login;

/// The bus name, and the name of the interface.
pub const BUS_NAME: &str = "org.linux_patch.Agent1";

/// The one object.
pub const OBJECT_PATH: &str = "/org/linux_patch/Agent1";
