//! Why the host should be rebooted, as marks on the disk and the package manager say it.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::package::PackageManager;
use crate::paths::Paths;
use crate::state::reboot::taken_back;

/// Debian's and Ubuntu's mark, and the packages that have left it, one a line.
pub const REQUIRED: &str = "/run/reboot-required";

pub const PACKAGES: &str = "/run/reboot-required.pkgs";

/// libzypp's mark.
pub const NEEDED: &str = "/run/reboot-needed";

/// Why the host should have been rebooted before an update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// The marks that were there.
    pub files: Vec<String>,
    /// The packages that had left the mark.
    pub packages: Vec<String>,
    /// The reasons that the package manager gave.
    pub reasons: Vec<String>,
}

impl Marked {
    /// Looks at the host.
    pub fn read(paths: &Paths, packages: &dyn PackageManager) -> Self {
        let files = [REQUIRED, NEEDED].into_iter();
        Self {
            files: files
                .filter(|file| paths.host(file).exists())
                .map(str::to_owned)
                .collect(),
            packages: named(paths),
            reasons: packages.reboot_reasons(&taken_back(paths)),
        }
    }
}

pub fn named(paths: &Paths) -> Vec<String> {
    let text = fs::read_to_string(paths.host(PACKAGES)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
