//! What apt and dpkg need on disk, and how kernels of Debian are named.

use crate::package::SpaceNeeds;

const MIB: u64 = 1024 * 1024;

/// What they need.
pub const NEEDS: SpaceNeeds = SpaceNeeds {
    floors: &[
        ("/var/cache/apt/archives", 4 * MIB),
        ("/var/lib/dpkg", 16 * MIB),
    ],
    is_kernel,
    // a metapackage, which has the name as well, is far smaller
    kernel_size: Some(4 * MIB),
};

fn is_kernel(package: &str) -> bool {
    package.starts_with("linux-image-") && !package.ends_with("-dbg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debugging_symbols_are_no_kernel() {
        assert!(is_kernel("linux-image-6.2"));
        assert!(!is_kernel("linux-image-6.2-dbg") && !is_kernel("linux-headers-6.2"));
    }
}
