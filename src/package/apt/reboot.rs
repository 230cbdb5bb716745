//! Why a host that apt updates should be rebooted: what packages ask for (`/run/reboot-required`).

use std::fs;
use std::path::Path;

/// One reason each; empty when it need not.
pub fn reasons() -> Vec<String> {
    if !Path::new("/run/reboot-required").exists() {
        return Vec::new();
    }
    let packages = fs::read_to_string("/run/reboot-required.pkgs").unwrap_or_default();
    let mut reasons: Vec<String> = packages
        .lines()
        .map(|package| format!("{package} was updated"))
        .collect();
    reasons.dedup();
    if reasons.is_empty() {
        reasons.push("/run/reboot-required is there".to_owned());
    }
    reasons
}
