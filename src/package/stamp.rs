//! A text that changes whenever files do, from their metadata, for which no right to read them is needed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sorted;

/// Adds a file or directory; nothing where there is none.
pub fn add(text: &mut String, path: &Path) {
    if let Ok(m) = fs::metadata(path) {
        let (ino, size, seconds, nanos) = (m.ino(), m.size(), m.mtime(), m.mtime_nsec());
        let _ = write!(text, "{ino}:{size}:{seconds}:{nanos};");
    }
}

/// Adds a file, or a directory with the files in it: one that is edited in place leaves the directory as it was.
pub fn add_all(text: &mut String, path: &Path) {
    add(text, path);
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| !path.is_dir()).collect();
    sorted::sort(&mut files);
    files.iter().for_each(|file| add(text, file));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_edited_in_place_is_another() {
        let root = tempfile::tempdir().unwrap();
        let stamp = || {
            let mut text = String::new();
            add_all(&mut text, root.path());
            text
        };
        let file = root.path().join("pin");
        fs::write(&file, "a").unwrap();
        let before = stamp();
        assert_eq!(stamp(), before);
        let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
        std::io::Write::write_all(&mut open, b"b").unwrap();
        assert_ne!(stamp(), before);
    }
}
