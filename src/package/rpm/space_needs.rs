//! How kernels of RPM distributions are named.

use crate::package::SpaceNeeds;

/// The packages with a kernel of Fedora, of RHEL and its clones, of Oracle and of SUSE.
const KERNELS: [&str; 8] = [
    "kernel",
    "kernel-core",
    "kernel-rt-core",
    "kernel-64k-core",
    "kernel-uek",
    "kernel-uek-core",
    "kernel-default",
    "kernel-default-base",
];

/// What dnf, yum and zypper need.
pub const NEEDS: SpaceNeeds = SpaceNeeds {
    floors: &[],
    is_kernel,
    kernel_size: None,
};

fn is_kernel(package: &str) -> bool {
    KERNELS.contains(&package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_no_kernel() {
        assert!(is_kernel("kernel-core") && is_kernel("kernel-default"));
        assert!(!is_kernel("kernel-devel"));
    }
}
