//! The cache of a program that compares whole seconds to decide whether the cache is current.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A file that a program derives, and the file that it derives it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramCache {
    pub file: PathBuf,
    pub source: PathBuf,
}

impl ProgramCache {
    /// Removes the cache if the program would take it for current although it may be older than its source; the program
    /// then makes another one. A cache that cannot be removed stays.
    pub fn remove_where_in_doubt(&self) {
        let (Ok(cache), Ok(source)) = (fs::metadata(&self.file), fs::metadata(&self.source)) else {
            return;
        };
        if !is_in_doubt(&cache, &source) {
            return;
        }
        let shown = self.file.display();
        match fs::remove_file(&self.file) {
            Ok(()) => tracing::debug!("'{shown}' may be older than its source, and is removed"),
            Err(error) => tracing::debug!("'{shown}' may be older than its source: {error}"),
        }
    }
}

/// Whether both files changed within the same second, and the source may have changed last.
fn is_in_doubt(cache: &Metadata, source: &Metadata) -> bool {
    cache.is_file() && cache.mtime() == source.mtime() && cache.mtime_nsec() <= source.mtime_nsec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    /// Whether the cache stays, made so many milliseconds after some second; the source changed so many after it.
    fn stays(cache: u64, source: u64) -> bool {
        let root = tempfile::tempdir().unwrap();
        let pair = ProgramCache {
            file: root.path().join("cache"),
            source: root.path().join("source"),
        };
        for (path, after) in [(&pair.file, cache), (&pair.source, source)] {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + after);
            let file = fs::File::create(path).unwrap();
            file.set_modified(at).unwrap();
        }
        pair.remove_where_in_doubt();
        assert!(pair.source.exists());
        pair.file.exists()
    }

    #[test]
    fn what_the_program_sees_itself_is_left_to_it() {
        assert!(stays(0, 1500));
        assert!(stays(1500, 0));
        assert!(stays(500, 0));
    }

    #[test]
    fn a_cache_of_the_same_second_that_may_be_older_goes() {
        assert!(!stays(0, 500));
        assert!(!stays(500, 500));
    }

    #[test]
    fn what_is_not_there_or_no_file_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let [file, source] = ["cache", "source"].map(|name| root.path().join(name));
        fs::create_dir(&file).unwrap();
        let pair = ProgramCache { file, source };
        pair.remove_where_in_doubt();
        fs::write(&pair.source, "").unwrap();
        pair.remove_where_in_doubt();
        assert!(pair.file.is_dir());
    }
}
