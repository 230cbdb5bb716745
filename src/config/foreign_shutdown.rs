//! What an update does while a shutdown is scheduled that is not its own.

use serde::{Deserialize, Serialize};

/// What an update does while a shutdown is scheduled that this program has not asked for, which would interrupt it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignShutdown {
    /// It waits until the host is up again, or the shutdown was cancelled.
    Wait,
    /// It fails.
    Refuse,
    /// It goes on. Also the rule of a gate that finds no policy.
    #[default]
    Ignore,
}
