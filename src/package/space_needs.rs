//! What a package manager needs on disk besides the files of packages, and how its kernels are named.

/// What a package manager needs on disk, and which of its packages may bring a kernel.
#[derive(Debug, Clone, Copy)]
pub struct SpaceNeeds {
    /// The directories of the package manager that any update writes to, each with how many bytes must be free
    /// there.
    pub floors: &'static [(&'static str, u64)],
    /// Whether a package has the name of a kernel; a metapackage may have that name as well.
    pub is_kernel: fn(&str) -> bool,
    /// The installed size in bytes from which a package with such a name has a kernel in it for certain; none where
    /// its files have to be looked at.
    pub kernel_size: Option<u64>,
}

impl Default for SpaceNeeds {
    /// No directories beyond those of every host, and no kernels to make room for.
    fn default() -> Self {
        Self {
            floors: &[],
            is_kernel: |_| false,
            kernel_size: None,
        }
    }
}
