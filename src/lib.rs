//! Keeps one Linux host patched and leaves to systemd everything systemd already does.
//!
#![cfg_attr(doc, doc = include_str!("../ARCHITECTURE.md"))]

pub mod api;
pub mod checksum;
pub mod cli;
pub mod config;
pub mod exec;
pub mod fs;
pub mod glob;
pub mod health;
pub mod host;
pub mod journal;
pub mod package;
pub mod paths;
pub mod queue;
pub mod request;
pub mod sorted;
pub mod state;
pub mod worker;

/// What must hold for every input of a parser: for the fuzz targets and the test of their corpus.
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/checks/mod.rs"]
pub mod fuzz;

/// The name of this program's package, in every package manager.
pub const PACKAGE: &str = env!("CARGO_PKG_NAME");

/// The version of this program, as in `patchctl --version` and the bus property `Version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this program was built from: `PATCH_COMMIT` of the build's environment, else what `git archive`
/// has put into the sources; `unknown` where neither says it.
pub const COMMIT: &str = commit(option_env!("PATCH_COMMIT"), include_str!("commit"));

/// The version of the interfaces of all front ends: later versions only add members and have a higher number. 2.0.0,
/// which reports none, counts as 0.
pub const PROTOCOL: u32 = 1;

/// The commit that the environment names, or else the sources; pure.
const fn commit<'a>(environment: Option<&'a str>, sources: &'a str) -> &'a str {
    match environment {
        Some(commit) if !commit.is_empty() => commit,
        _ if sources.is_empty() || sources.as_bytes()[0] == b'$' => "unknown",
        _ => sources,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_that_of_the_build_or_of_the_archive() {
        assert_eq!(commit(Some("abc"), "def"), "abc");
        assert_eq!(commit(Some(""), "def"), "def");
        assert_eq!(commit(None, "$Format:%H$"), "unknown");
        assert_eq!(commit(None, ""), "unknown");
        assert!(!COMMIT.contains(['$', '\n']));
    }
}
