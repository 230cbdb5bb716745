//! zypper on this host, as the other parts use it.

use crate::package::rpm::rollback::Archived;

/// zypper on this host.
#[derive(Debug, Default)]
pub struct Zypper {
    /// The former versions that the repositories have, where that was announced with the changes.
    pub(super) archived: Archived,
}
