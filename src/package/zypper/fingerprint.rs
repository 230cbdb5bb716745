//! A text that changes whenever the index, the package database or the configuration does.

use super::directories::ZyppDirectories;
use crate::package::Source;
use crate::package::rpm::fingerprint;

/// The files whose change may change what is pending.
const CONFIGURATION: [&str; 7] = [
    "/etc/zypp/repos.d",
    "/etc/zypp/zypp.conf",
    "/etc/zypp/zypp.conf.d",
    "/etc/zypp/multiversion.d",
    "/etc/zypp/vendors.d",
    "/etc/zypp/zypper.conf",
    "/etc/zypp/locks",
];

/// The text, for these `failed` sources.
pub fn fingerprint(failed: &[&Source]) -> String {
    fingerprint::stamp(failed, &[ZyppDirectories::now().indexes], &CONFIGURATION)
}
