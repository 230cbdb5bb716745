//! A text that changes whenever the databases or the configuration do.

use std::fmt::Write as _;
use std::path::Path;

use super::backend::Pacman;
use super::database_sync;
use crate::checksum;
use crate::package::{Source, stamp};

/// The text, for these `failed` sources.
pub fn fingerprint(pacman: &Pacman, failed: &[&Source]) -> String {
    let mut text = pacman.tree.fingerprint();
    for source in failed {
        let _ = write!(text, "{source};");
    }
    stamp::add_all(&mut text, Path::new("/etc/pacman.d"));
    for path in ["/etc/pacman.conf", "/var/lib/pacman/local"] {
        text.push_str(&database_sync::stamp(Path::new(path)));
    }
    checksum::sha256(text.as_bytes())
}
