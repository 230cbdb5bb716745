//! The Rust files below a directory, for the tests that read code.

use std::fs;
use std::path::{Path, PathBuf};

/// All of them, in the order of their paths.
pub fn sources(directory: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    collect(Path::new(directory), &mut files);
    files.sort();
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
