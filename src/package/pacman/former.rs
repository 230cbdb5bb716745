//! Former versions: pacman keeps the files it installed, and puts any of them back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::package::{Change, Former, FormerSource, Kept, Key, former};

/// Looks each former version up in what we keep and in pacman's caches; the repositories have only the
/// newest.
pub fn find(changes: &[Change], kept: &[Kept], caches: &[PathBuf]) -> Vec<Former> {
    let cached = cached(caches);
    let source = |change: &Change| {
        let Some(version) = change.from.as_deref() else {
            return FormerSource::New;
        };
        let Key {
            package,
            architecture,
        } = change.former_key();
        let stem = format!("{package}-{version}-{architecture}");
        let in_cache = || former::cached(change, kept, cached.get(&stem)?);
        let found = former::ours(change, kept).or_else(in_cache);
        found.unwrap_or_else(|| FormerSource::Missing {
            why: "it is neither among the packages we keep nor in pacman's cache".to_owned(),
        })
    };
    let former = |change: &Change| Former {
        change: change.clone(),
        source: source(change),
    };
    changes.iter().map(former).collect()
}

/// The package files in the caches by `name-version-architecture`; the first cache wins.
fn cached(caches: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for cache in caches {
        let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if let Some(stem) = stem(&path) {
                files.entry(stem).or_insert(path);
            }
        }
    }
    files
}

/// `demo-1.0-1-any` of `demo-1.0-1-any.pkg.tar.zst`; nothing for signatures and unfinished downloads.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, kind) = name.split_once(".pkg.tar")?;
    let whole = kind.is_empty() || (kind.starts_with('.') && !kind[1..].contains('.'));
    whole.then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_signatures_and_parts() {
        let of = |name: &str| stem(Path::new(name));
        assert_eq!(
            of("/c/demo-1:1.0-1-any.pkg.tar.zst").unwrap(),
            "demo-1:1.0-1-any"
        );
        assert_eq!(of("demo-1.0-1-any.pkg.tar").unwrap(), "demo-1.0-1-any");
        for other in [
            "demo-1.0-1-any.pkg.tar.zst.sig",
            "demo-1.0-1-any.pkg.tar.zst.part",
            "x",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn our_own_copy_comes_before_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("demo-1.0-1-any.pkg.tar.gz");
        std::fs::write(&file, "demo").unwrap();
        let change = |package: &str, from: Option<&str>| Change {
            package: package.into(),
            architecture: "any".into(),
            from: from.map(Into::into),
            to: Some("2-1".into()),
            file: None,
            ..Change::default()
        };
        let changes = [
            change("demo", Some("1.0-1")),
            change("lib", None),
            change("x", Some("1-1")),
        ];
        let words = |kept: &[Kept]| -> Vec<&str> {
            let former = find(&changes, kept, &[root.path().to_owned()]);
            former.iter().map(|former| former.source.as_str()).collect()
        };
        assert_eq!(words(&[]), ["cached", "new", "missing"]);
        let kept = Kept {
            package: "demo".into(),
            architecture: "any".into(),
            version: "1.0-1".into(),
            file: file.clone(),
            sha256: "x".into(),
            size: 4,
            kept_at: chrono::Utc::now(),
            other: serde_json::Map::new(),
            ..Kept::default()
        };
        assert_eq!(words(&[kept]), ["kept", "new", "missing"]);
    }
}
