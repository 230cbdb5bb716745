//! A text that changes whenever the index, the package database or the configuration does.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::arguments;
use super::backend::{Apk, CACHE};
use crate::package::Source;
use crate::{checksum, sorted};

/// Where repositories are named.
const REPOSITORIES: &str = "/etc/apk/repositories";

/// The text, for these `failed` sources.
pub fn fingerprint(apk: &Apk, failed: &[&Source]) -> String {
    let mut text = String::new();
    for source in failed {
        let _ = write!(text, "{source};");
    }
    let indexes = fs::read_dir(CACHE)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut files: Vec<PathBuf> = indexes
        .filter(|path| path.to_string_lossy().contains("APKINDEX"))
        .collect();
    sorted::sort(&mut files);
    files.extend([
        apk.database.clone(),
        REPOSITORIES.into(),
        arguments::WORLD.into(),
    ]);
    for file in files {
        if let Ok(m) = fs::metadata(&file) {
            let _ = write!(
                text,
                "{}:{}:{}:{};",
                m.ino(),
                m.size(),
                m.mtime(),
                m.mtime_nsec()
            );
        }
    }
    checksum::sha256(text.as_bytes())
}
