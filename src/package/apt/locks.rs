//! dpkg's locks: who holds them, looked at without taking them.

use std::path::Path;

use anyhow::Result;

use crate::package::{Observer, lock};

/// Who holds one of dpkg's locks in `directory`, in a sentence: a front end such as apt holds the
/// first, dpkg itself the second, which is the only one left when its front end has died (FACTS 20).
pub fn holder(directory: &Path) -> Result<Option<String>> {
    let locks = ["lock-frontend", "lock"].map(|name| directory.join(name));
    let mut holders = locks.iter().map(|lock| lock::holder(lock));
    holders.find_map(Result::transpose).transpose()
}

/// Waits until no process holds one of dpkg's locks in `directory`.
pub fn wait_until_free(directory: &Path, observer: &mut dyn Observer) -> Result<()> {
    lock::wait_until_free(observer, || holder(directory))
}
