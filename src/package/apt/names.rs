//! How apt names the version of a package, and the file of one.

use crate::package::{Change, PackageId};

/// Where apt keeps what it fetched, unless a change list shows another place.
pub const ARCHIVES: &str = "/var/cache/apt/archives";

/// The name under which apt keeps a file: it writes a colon as `%3a` (apt's `flNotDir` of `StoreFilename`).
pub fn file_name(key: &PackageId, version: &str) -> String {
    let version = version.replace(':', "%3a");
    format!("{}_{version}_{}.deb", key.package, key.architecture)
}

/// `package:architecture=version` of the former version.
pub fn former_name(change: &Change) -> Option<String> {
    Some(name(&change.former_key(), change.from.as_deref()?))
}

/// The same of the new one.
pub fn new_name(change: &Change) -> Option<String> {
    Some(name(&change.key(), change.to.as_deref()?))
}

fn name(key: &PackageId, version: &str) -> String {
    format!("{key}={version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_cache_has_no_colon() {
        let key = PackageId::new("zlib1g", "amd64");
        assert_eq!(file_name(&key, "1:1.3+b1"), "zlib1g_1%3a1.3+b1_amd64.deb");
    }
}
