//! What dnf, yum and zypper have in common: RPM's database, repositories and scripts, and the gate.

pub mod advisories;
pub mod below;
pub mod brings;
pub mod conf;
pub mod conffiles;
pub mod contents;
pub mod database;
pub mod database_cache;
pub mod evr;
pub mod fingerprint;
pub mod gate;
pub mod installonly;
pub mod locks;
pub mod manager;
pub mod reboot;
pub mod removals;
pub mod repair;
pub mod repositories;
pub mod resolution;
pub mod rollback;
pub mod scripts;
pub mod space_needs;
pub mod transaction;
pub mod versionlock;
pub mod words;
pub mod xml;

pub use database::FILES as DATABASE_FILES;
