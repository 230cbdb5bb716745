//! How much room an update needs at least.

use crate::package::SpaceNeeds;

pub const MIB: u64 = 1024 * 1024;

/// What must be free on every host.
const ROOT: (&str, u64) = ("/", 16 * MIB);
const LOGS: (&str, u64) = ("/var/log", 4 * MIB);

/// What must be free before anything is fetched: enough for the databases and logs that any update writes.
pub fn floors(needs: &SpaceNeeds) -> Vec<(&'static str, u64)> {
    [&[ROOT], needs.floors, &[LOGS]].concat()
}
