//! What a run is about: which packages, and of which repositories.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::arguments;
use super::directories::ZyppDirectories;
use crate::package::rpm::repositories::{self, Repository, RepositoryIndex};
use crate::package::{Source, Update};
use crate::sorted::InOrder;

/// Where repositories are configured (zypper(8), "FILES").
const REPOSITORIES: [&str; 1] = ["/etc/zypp/repos.d"];

/// What an update is about.
#[derive(Debug, Clone, Default)]
pub struct ZypperScope {
    /// Exactly these, or everything.
    pub names: Option<Vec<String>>,
    /// The only repositories that are used; all when it is empty.
    pub repositories: Vec<String>,
}

impl ZypperScope {
    /// Of these updates, or of everything, without the failed sources.
    pub fn new(updates: Option<&[Update]>, failed: &[&Source]) -> Self {
        let enabled = enabled().into_iter().map(|repository| repository.id);
        Self {
            names: updates.map(arguments::names),
            repositories: arguments::good(enabled, failed),
        }
    }

    /// The same, about exactly these.
    pub fn naming(&self, names: &[String]) -> Self {
        Self {
            names: Some(names.to_vec()),
            repositories: self.repositories.clone(),
        }
    }
}

/// The repositories that are configured and enabled.
pub fn enabled() -> Vec<Repository> {
    let mut repositories = repositories::configured(&REPOSITORIES);
    repositories.retain(|repository| repository.enabled);
    repositories
}

/// The fetched index of each repository, by id, where there is one.
pub fn indexes() -> BTreeMap<String, Option<RepositoryIndex>> {
    let index = |directory: &Path| {
        let bytes = fs::read(directory.join("repodata/repomd.xml")).ok()?;
        repositories::index(&String::from_utf8_lossy(&bytes))
    };
    repositories::cached(&ZyppDirectories::now().indexes)
        .into_iter()
        .map(|(id, directory)| {
            let index = index(&directory);
            (id, index)
        })
        .in_order()
}

/// Whether an enabled repository carries advisories.
pub fn has_advisories() -> bool {
    let indexes = indexes();
    enabled()
        .iter()
        .filter_map(|repository| indexes.get(&repository.id))
        .any(|index| index.as_ref().is_some_and(|index| index.advisories))
}
