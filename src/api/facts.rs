//! What the host and this program are, for programs that ask many hosts.

use serde_json::{Value, json};

use crate::host::{clock, identity, kernel};
use crate::package::os_release::OsRelease;
use crate::paths::Paths;
use crate::{COMMIT, PROTOCOL, VERSION};

/// The keys of the picture that no record has.
#[must_use]
pub fn facts(paths: &Paths) -> Value {
    // os-release(5): the administrator's, else the vendor's
    let files = ["/etc/os-release", "/usr/lib/os-release"];
    let mut texts = files
        .iter()
        .map(|file| std::fs::read_to_string(paths.host(file)));
    let os = texts.find_map(Result::ok).unwrap_or_default();
    let os = OsRelease::parse(&os);
    json!({
        "version": VERSION,
        "commit": COMMIT,
        "protocol": PROTOCOL,
        "hostname": identity::hostname(),
        "host_id": identity::host_id(paths),
        "boot_id": clock::boot_id(),
        "os": {
            "id": os.id,
            "version_id": os.version,
            "architecture": identity::architecture(),
        },
        "kernel": kernel::running(),
        "uptime_seconds": clock::uptime().as_secs(),
        "now": clock::now(),
    })
}
