//! The command lines given to apt-config, which tells how apt is configured: pure builders.

use crate::exec::Program;

const APT_CONFIG: &str = "/usr/bin/apt-config";

/// Under which name [`settings`] tells where apt's lists are.
pub const LISTS: &str = "LISTS";

/// Under which name it tells where apt's cache is.
pub const CACHE: &str = "CACHE";

/// Under which names it tells how long apt waits for a word of a source, and from which settings.
pub const TIMEOUT: [(&str, &str); 2] = [
    ("TIMEOUT", "Acquire::http::Timeout"),
    (
        "TIMEOUT_OF_APT_GET",
        "Binary::apt-get::Acquire::http::Timeout",
    ),
];

/// The same of how often apt tries again.
pub const RETRIES: [(&str, &str); 2] = [
    ("RETRIES", "Acquire::Retries"),
    ("RETRIES_OF_APT_GET", "Binary::apt-get::Acquire::Retries"),
];

/// Tells what is set of what concerns us, in the form of assignments in the shell.
pub fn settings() -> Program {
    let others = TIMEOUT.iter().chain(&RETRIES);
    Program::new(APT_CONFIG)
        .args(["shell", LISTS, "Dir::State::lists/d"])
        .args([CACHE, "Dir::Cache::pkgcache/f"])
        .args(others.flat_map(|(name, setting)| [name, setting]))
}

/// Lists every kind of file that apt may fetch with an index, with what is set of each.
pub fn index_kinds() -> Program {
    Program::new(APT_CONFIG).args(["dump", "--no-empty", "Acquire::IndexTargets"])
}
