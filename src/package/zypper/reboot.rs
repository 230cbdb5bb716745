//! Whether a reboot is due: as for every user of RPM, or because a package asks for it.

use std::path::Path;

use crate::package::TakenBack;
use crate::package::rpm::reboot;

/// What libzypp leaves when it has installed a package that asks for a reboot (`installhint(reboot-needed)`);
/// `zypper needs-rebooting` looks at nothing else.
const REBOOT_NEEDED: &str = "/run/reboot-needed";

/// One reason each; empty when it need not. A reason that was taken back holds again for what was replaced later.
pub fn reasons(taken_back: &TakenBack) -> Vec<String> {
    let mut reasons = reboot::reasons(taken_back);
    if reasons.is_empty() && Path::new(REBOOT_NEEDED).exists() {
        reasons.push(format!("{REBOOT_NEEDED} is there"));
    }
    reasons
}
