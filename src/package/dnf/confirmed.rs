//! Whether a refresh has confirmed the index of a repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::arguments;
use super::backend::Dnf;
use super::pending::listed;
use super::variant::Variant;
use crate::package::rpm::repositories;

/// The least time that is worth another run.
const LEAST: Duration = Duration::from_secs(10);

/// The error of a repository of which dnf 5 prints none.
const SILENT: &str =
    "its index could not be fetched; dnf5 says why in its log only, /var/log/dnf5.log";

/// The same for files that no update depends on.
const SILENT_OF_EXTRAS: &str = "advisories, groups or other files of its metadata could not be fetched; dnf5 says \
    which in its log only, /var/log/dnf5.log";

/// What dnf 5 leaves in the cache of a repository as long as it has not confirmed its index since it was told to
/// (`libdnf5/repo/repo_cache.cpp`, `ATTRIBUTE_EXPIRED`).
const EXPIRED: &str = "attrs/expired";

/// Whether dnf 5 was told to refresh the repository of this cache and could not. It silently skips a repository whose
/// list of packages it cannot fetch, and exits with 0 (measured with 5.4.6).
fn is_expired(cache: &Path) -> bool {
    cache.join(EXPIRED).exists()
}

/// Tells dnf 5 to refresh the repository of this cache. `--refresh` by itself marks those in the usual place alone,
/// and does nothing where `system_cachedir` names another one (measured with 5.4.6).
pub fn expire(cache: &Path) -> Result<()> {
    let mark = cache.join(EXPIRED);
    mark.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&mark, ""))
        .with_context(|| format!("failed to write '{}'", mark.display()))
}

/// After a refresh.
pub struct Confirmed<'a> {
    pub dnf: &'a Dnf,
    /// The repositories of which dnf 4 said that they lack nothing else than what no update depends on.
    pub lacking_extras: BTreeSet<String>,
    /// Whether the network is away, so that another run is pointless.
    pub offline: bool,
    /// When the refresh has to end.
    pub ends: Instant,
}

impl Confirmed<'_> {
    /// What is wrong with a repository of which the refresh has `said` something. dnf 5 complains of each mirror
    /// that fails, although another one answers, and not of a repository.
    pub fn error(&self, id: &str, said: Option<String>) -> Option<String> {
        if self.dnf.variant != Variant::Dnf5 {
            return said;
        }
        let caches = self.dnf.variant.caches();
        let cache = caches
            .iter()
            .find_map(|at| repositories::cached(at).remove(id));
        let failed = cache.is_none_or(|cache| is_expired(&cache));
        failed.then(|| said.unwrap_or_else(|| SILENT.to_owned()))
    }

    /// Whether nothing but files that no update depends on keeps a repository from being refreshed. dnf 5 does not
    /// say it, so it is asked to fetch the repository into another cache without them.
    pub fn lacks_extras(&self, id: &str) -> bool {
        let left = self.ends.saturating_duration_since(Instant::now());
        if self.dnf.variant != Variant::Dnf5 || self.offline || left < LEAST {
            return self.lacking_extras.contains(id);
        }
        let cache = self.dnf.scratch.join("dnf-packages-alone");
        let program = arguments::refresh_packages_alone(id, &cache).limit(left);
        let lacks = listed(&program).is_ok();
        let _ = fs::remove_dir_all(&cache);
        lacks
    }

    /// What is wrong with such files, of which dnf 5 names the first mirror that fails at most.
    pub fn error_of_extras(&self, said: String) -> String {
        match self.dnf.variant {
            Variant::Dnf5 => SILENT_OF_EXTRAS.to_owned(),
            _ => said,
        }
    }
}
