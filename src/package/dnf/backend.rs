//! dnf or yum on this host, as the other parts use it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::variant::Variant;
use crate::package::rpm::repositories::{self, Repository};
use crate::package::rpm::rollback::Archived;
use crate::sorted::InOrder;

/// dnf or yum on this host.
#[derive(Debug)]
pub struct Dnf {
    pub(super) variant: Variant,
    /// Where temporary files may lie.
    pub(super) scratch: PathBuf,
    /// The former versions that the repositories have, where dnf has said so with the change list.
    pub(super) archived: Archived,
}

impl Dnf {
    /// This variant, with a private directory for temporary files.
    pub fn new(variant: Variant, scratch: impl Into<PathBuf>) -> Self {
        Self {
            variant,
            scratch: scratch.into(),
            archived: Archived::default(),
        }
    }

    /// The repositories that are configured.
    pub(super) fn configured(&self) -> Vec<Repository> {
        repositories::configured(self.variant.repositories())
    }

    /// The fetched index of each repository, by id, where there is one.
    pub(super) fn indexes(&self) -> BTreeMap<String, Option<repositories::RepositoryIndex>> {
        let caches = self.variant.caches();
        let directories = caches.iter().flat_map(|cache| repositories::cached(cache));
        let index = |directory: &Path| {
            let places = ["repodata/repomd.xml", "repomd.xml"];
            let read = |place: &&str| fs::read(directory.join(place)).ok();
            let bytes = places.iter().find_map(read)?;
            repositories::index(&String::from_utf8_lossy(&bytes))
        };
        directories
            .map(|(id, directory)| (id, index(&directory)))
            .in_order()
    }
}
