//! What dnf, yum and zypper have in common: RPM's database, repositories and scripts, and the gate.

pub mod below;
pub mod beside;
pub mod brings;
pub mod contents;
pub mod database;
pub mod evr;
pub mod former;
pub mod gate;
pub mod held;
pub mod known;
pub mod locks;
pub mod reboot;
pub mod repair;
pub mod repositories;
pub mod resolved;
pub mod scriptlet;
pub mod stamp;
pub mod transaction;
pub mod unmerged;
pub mod words;
pub mod xml;
