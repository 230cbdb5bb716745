//! What the index of a source says of itself: its `InRelease` or `Release` file among apt's lists.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// The date an index gives of itself, for instance `Sat, 15 Nov 2025 10:29:04 UTC`.
#[must_use]
pub fn index_date(index: &str) -> Option<DateTime<Utc>> {
    let text = index
        .lines()
        .find_map(|line| line.strip_prefix("Date: "))?
        .trim();
    let text = text
        .strip_suffix(" UTC")
        .map_or_else(|| text.to_owned(), |date| format!("{date} +0000"));
    DateTime::parse_from_rfc2822(&text)
        .ok()
        .map(|date| date.to_utc())
}

/// Whether an index says that a list of packages is empty, as that of an updates suite is until there
/// are updates: apt does not keep such a list (FACTS 17).
#[must_use]
pub fn offers_nothing(index: &str) -> bool {
    index.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (size, path) = (fields.next(), fields.next().unwrap_or_default());
        let name = path.rsplit('/').next();
        line.starts_with(' ') && size == Some("0") && matches!(name, Some("Packages" | "Sources"))
    })
}

/// The index of a source as it lies among apt's lists: signed in place, or with a signature beside.
#[must_use]
pub fn index_path(lists: &Path, file: &str) -> Option<PathBuf> {
    let signed = lists.join(file);
    let beside = lists.join(file.replace("InRelease", "Release"));
    [signed, beside].into_iter().find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_indexes() {
        let date = index_date("Origin: Debian\nDate: Sat, 15 Nov 2025 10:29:04 UTC\n").unwrap();
        assert_eq!(date.to_rfc3339(), "2025-11-15T10:29:04+00:00");
        assert_eq!(index_date("Date: yesterday"), None);
    }

    #[test]
    fn a_suite_without_packages_is_known_by_its_index() {
        let index = |size: &str| {
            format!("SHA256:\n abc 9 main/Contents\n abc {size} main/binary-amd64/Packages\n")
        };
        assert!(offers_nothing(&index("0")));
        assert!(!offers_nothing(&index("17")));
        assert!(!offers_nothing("Date: 0 Packages"));
    }
}
