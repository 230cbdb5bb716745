//! Why a host that apk updates should be rebooted: a kernel that was replaced takes its modules away.

use std::fs;
use std::path::Path;

/// One reason each; empty when it need not.
pub fn reasons() -> Vec<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = Path::new("/lib/modules");
    let any = fs::read_dir(modules).is_ok_and(|mut entries| entries.next().is_some());
    let in_container = Path::new("/run/systemd/container").exists();
    if in_container || !any || modules.join(release.trim()).exists() {
        return Vec::new();
    }
    vec![format!(
        "the running kernel {} was replaced",
        release.trim()
    )]
}
