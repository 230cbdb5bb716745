//! How much room an update needs at least.

pub const MIB: u64 = 1024 * 1024;

/// What must be free before anything is fetched: enough for the databases and logs that any update writes.
pub const FLOORS: [(&str, u64); 4] = [
    ("/", 16 * MIB),
    ("/var/cache/apt/archives", 4 * MIB),
    ("/var/lib/dpkg", 16 * MIB),
    ("/var/log", 4 * MIB),
];
