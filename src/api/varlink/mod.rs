//! The Varlink service: one short-lived process for each connection to the socket, unprivileged.
//!
//! The service manager accepts (`patch-request.socket`) and starts `patchctl run varlink` with the
//! connection as its standard input. Being able to connect is the authorisation: the socket belongs
//! to root and the group `patch-operators`, and no other user can connect.
//!
//! `message` (bytes to calls, replies to bytes), `interface` (names, texts, errors) and `method` (calls to
//! methods) are pure; `connection` keeps to the limits, `peer` knows who is there, `serve` answers.

mod connection;
pub(crate) mod interface;
pub(crate) mod message;
pub(crate) mod method;
mod peer;
mod serve;
mod standing;

pub use serve::serve;
