//! The lab: disposable Debian hosts, each booted under its own systemd, for tests that can only be true there.
//!
//! ```text
//! HostBuilder ─► base (a release with a manager, bootstrapped once) ─► product (our package installed, once per package)
//!            ─► scratch (one writable overlay, cgroup and network namespace per host) ─► boot (systemd-nspawn)
//! Past ─► past (real packages one version behind, a layer above the base)   Manifest ─► manifest (what a package contains)
//! host.sh …  ─► command (a program inside)      host.write … ─► files      host.wait_for … ─► wait
//! Disk ─► disk (full, or broken, for our own files alone)
//! Deb, fixtures ─► deb, rpm, pkg, apk (package files) ─► Repo ─► archive (index, signing) ─► server (HTTP inside the host's network, with faults)
//! ```
//!
//! What a test calls panics with everything that is known, so that the log of a failed run is enough.
//! Caches live in `/var/cache/linux-patch-lab` (`LAB_CACHE` moves it); `LAB_KEEP=1` keeps the trees of the hosts.

mod apk;
mod archive;
mod base;
mod boot;
mod builder;
mod cache;
mod cgroup;
mod command;
mod deb;
mod dice;
mod disk;
mod files;
pub mod fixtures;
mod host;
mod link;
mod machine;
mod manager;
mod manifest;
mod mirror;
mod past;
mod pkg;
pub mod product;
mod repo;
mod rpm;
mod scratch;
mod server;
mod signing;
mod wait;

pub use archive::{Advisory, Asks, ReleaseOptions, Snapshot, Tamper};
pub use base::Release;
pub use builder::HostBuilder;
pub use command::{Output, Spawned};
pub use deb::{Deb, Repack};
pub use dice::Dice;
pub use disk::{Disk, DiskFault};
pub use host::Host;
pub use link::Link;
pub use manager::Manager;
pub use manifest::{Manifest, differences};
pub use past::{Aged, Past};
pub use repo::{Repo, RepoBuilder};
pub use server::Fault;
