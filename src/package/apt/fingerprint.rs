//! A text that changes whenever the index, the package database or the configuration does.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::backend::Apt;
use crate::package::{Source, stamp};
use crate::{checksum, sorted};

/// The text, for these `failed` sources.
pub fn fingerprint(apt: &Apt, failed: &[&Source]) -> String {
    let mut text = String::new();
    for source in failed {
        let _ = write!(text, "{source};");
    }
    for path in [
        "/etc/apt/sources.list",
        "/etc/apt/sources.list.d",
        "/etc/apt/preferences",
        "/etc/apt/preferences.d",
        "/etc/apt/apt.conf",
        "/etc/apt/apt.conf.d",
    ] {
        stamp::add_all(&mut text, Path::new(path));
    }
    stamp::add(&mut text, &apt.dpkg.join("status"));
    let mut lists: Vec<PathBuf> = fs::read_dir(apt.lists())
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    // the dates of the signed files change with every fetch, those of the indexes only when new
    lists.retain(|path| path.to_string_lossy().contains("_Packages"));
    sorted::sort(&mut lists);
    lists.iter().for_each(|path| stamp::add(&mut text, path));
    checksum::sha256(text.as_bytes())
}
