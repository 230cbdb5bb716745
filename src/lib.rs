//! Keeps one Linux host patched and leaves to systemd everything systemd already does.
//!
//! The rooms, in the order in which a request walks through them, and whom each may call
//! (`tests/architecture.rs` holds the code to this list):
//!
//! | room | what it is for | may call |
//! |---|---|---|
//! | [`cli`] | the command line: parses arguments, asks the D-Bus service, prints the answers | api exec host journal request sorted state |
//! | [`api`] | the front ends D-Bus and Varlink; never changes a package | request queue state health package host journal config paths sorted |
//! | [`request`] | a request, parsed once and strictly | sorted |
//! | [`queue`] | submit, claim, finish | checksum request state journal paths fs sorted |
//! | [`worker`] | the only room that changes the host | checksum queue request package exec host state journal config paths fs sorted |
//! | [`package`] | one trait over the package managers | checksum config exec fs sorted |
//! | [`host`] | what the machine says of itself: clocks, logind, systemd | checksum paths sorted |
//! | [`exec`] | the only room that starts programs | |
//! | [`state`] | the records: index, updates, jobs, the latest update | checksum request package host journal paths fs sorted |
//! | [`health`] | pure: the records in, health and its reasons out | state |
//! | [`journal`] | every event: a `MESSAGE_ID` and one function each | request |
//! | [`config`] | fragments, merged and validated | paths request sorted |
//! | [`paths`] | where everything lies on the disk | |
//! | [`checksum`] | SHA-256 | |
//! | [`sorted`] | sorting, and collecting in sorted | |
//! | [`fs`] | atomic writes, locks, opening without following links | paths |

pub mod api;
pub mod checksum;
pub mod cli;
pub mod config;
pub mod exec;
pub mod fs;
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

/// The name of the package that this program comes in, in every package manager.
pub const PACKAGE: &str = env!("CARGO_PKG_NAME");

/// The version of this program, as `patchctl --version` and the bus property `Version` give it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this program was built from: `PATCH_COMMIT` of the build's environment, else what `git archive`
/// has put into the sources; `unknown` where neither says it.
pub const COMMIT: &str = commit(option_env!("PATCH_COMMIT"), include_str!("commit"));

/// The version of what the doors offer together: members are only ever added, and a later number has more. 2.0.0,
/// which says none, counts as 0.
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
