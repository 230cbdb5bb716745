//! Former versions: what we keep, and what lies in a cache of apk's.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::checksum;
use crate::package::{Change, Former, FormerSource, Kept};

/// Looks each former version up.
pub fn find(changes: &[Change], kept: &[Kept], caches: &[PathBuf]) -> Result<Vec<Former>> {
    let source = |change: &Change| -> Result<FormerSource> {
        let Some(version) = change.from.as_deref() else {
            return Ok(FormerSource::New);
        };
        let key = change.key();
        let ours = kept
            .iter()
            .find(|kept| kept.key() == key && kept.version == version && kept.file.exists());
        if let Some(kept) = ours {
            return Ok(FormerSource::Kept {
                file: kept.file.clone(),
                sha256: kept.sha256.clone(),
            });
        }
        let stem = format!("{}-{version}", change.package);
        let cached = caches
            .iter()
            .flat_map(|cache| std::fs::read_dir(cache).into_iter().flatten());
        let cached = cached
            .flatten()
            .map(|entry| entry.path())
            .find(|path| is_of(path, &stem));
        Ok(match cached {
            Some(file) => FormerSource::Cached {
                sha256: checksum::sha256_of_file(&file)?,
                file,
            },
            None => FormerSource::Missing {
                why: "it is neither among the packages we keep nor in a cache of apk's".to_owned(),
            },
        })
    };
    let former = |change: &Change| {
        Ok(Former {
            change: change.clone(),
            source: source(change)?,
        })
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
