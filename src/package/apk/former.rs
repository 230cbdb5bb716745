//! Former versions: what we keep, and what lies in a cache of apk's.

use std::path::{Path, PathBuf};

use crate::package::{Change, Former, FormerSource, Kept, former};

/// Looks each former version up.
pub fn find(changes: &[Change], kept: &[Kept], caches: &[PathBuf]) -> Vec<Former> {
    let source = |change: &Change| {
        let Some(version) = change.from.as_deref() else {
            return FormerSource::New;
        };
        if let Some(ours) = former::ours(change, kept) {
            return ours;
        }
        let stem = format!("{}-{version}", change.package);
        let cached = caches
            .iter()
            .flat_map(|cache| std::fs::read_dir(cache).into_iter().flatten());
        let cached = cached
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_of(path, &stem))
            .find_map(|path| former::cached(change, kept, &path));
        cached.unwrap_or_else(|| FormerSource::Missing {
            why: "it is neither among the packages we keep nor in a cache of apk's".to_owned(),
        })
    };
    let former = |change: &Change| Former {
        change: change.clone(),
        source: source(change),
    };
    changes.iter().map(former).collect()
}

/// Whether this is `demo-1.0-r0.apk` or, as in a cache, `demo-1.0-r0.0a1b2c3d.apk`.
fn is_of(path: &Path, stem: &str) -> bool {
    let rest = || {
        path.file_name()?
            .to_str()?
            .strip_prefix(stem)?
            .strip_suffix(".apk")
    };
    rest().is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('.').is_some_and(|hash| {
                !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_cache_are_told_apart() {
        let of = |name: &str| is_of(Path::new(name), "demo-1.0-r0");
        assert!(of("/c/demo-1.0-r0.apk") && of("demo-1.0-r0.0a1b2c3d.apk"));
        for other in [
            "demo-1.0-r01.apk",
            "demo-1.0-r0.x.apk",
            "demo-1.0-r0.0a1b.apk.new",
            "x",
        ] {
            assert!(!of(other), "{other}");
        }
    }
}
