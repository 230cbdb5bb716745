//! Where libzypp keeps what it fetches, where the administrator has moved it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::package::rpm::conf::{self, ZYPP_CONF, ZYPP_DROP_INS};

/// The settings of the main section (zypp.conf), by which everything or one part is moved.
const EVERYTHING: &str = "cachedir";
const INDEXES: (&str, &str) = ("metadatadir", "raw");
const SOLVER: (&str, &str) = ("solvfilesdir", "solv");
const PACKAGES: (&str, &str) = ("packagesdir", "packages");

/// Where everything lies unless it is moved.
const USUAL: &str = "/var/cache/zypp";

/// The directories of libzypp's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZyppDirectories {
    /// The index of each repository.
    pub indexes: PathBuf,
    /// What the solver reads of it.
    pub solver: PathBuf,
    /// The packages.
    pub packages: PathBuf,
}

impl ZyppDirectories {
    /// By the configuration as it is now.
    pub fn now() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        let texts = texts(root);
        let value = |setting: &str| {
            let mut words = texts.iter().rev();
            words.find_map(|text| conf::of_main(text, &[setting]).pop())
        };
        let all = PathBuf::from(value(EVERYTHING).unwrap_or_else(|| USUAL.to_owned()));
        let place = |(setting, name)| value(setting).map_or_else(|| all.join(name), PathBuf::from);
        Self {
            indexes: place(INDEXES),
            solver: place(SOLVER),
            packages: place(PACKAGES),
        }
    }
}

/// The configuration, the last word last: the administrator's file in the place of the distribution's, and then
/// what is added to it, in the order of the names.
fn texts(root: &Path) -> Vec<String> {
    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let main = ZYPP_CONF
        .iter()
        .map(|path| at(path))
        .find(|path| path.exists());
    let mut added = BTreeMap::new();
    for directory in ZYPP_DROP_INS {
        let entries = fs::read_dir(at(directory)).into_iter().flatten().flatten();
        added.extend(entries.map(|entry| (entry.file_name(), entry.path())));
    }
    let files = main.into_iter().chain(added.into_values());
    files
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_or_all_of_it_is_moved() {
        let root = tempfile::tempdir().unwrap();
        let places = || ZyppDirectories::below(root.path());
        assert_eq!(places().indexes, Path::new("/var/cache/zypp/raw"));
        let drop_ins = root.path().join("etc/zypp/zypp.conf.d");
        fs::create_dir_all(&drop_ins).unwrap();
        let main = "[main]\n## cachedir = /no\ncachedir = /srv/zypp\nmetadatadir=/srv/raw\n";
        fs::write(root.path().join("etc/zypp/zypp.conf"), main).unwrap();
        assert_eq!(places().indexes, Path::new("/srv/raw"));
        assert_eq!(places().packages, Path::new("/srv/zypp/packages"));
        fs::write(drop_ins.join("20.conf"), "[main]\npackagesdir=/srv/rpms\n").unwrap();
        fs::write(drop_ins.join("10.conf"), "[main]\npackagesdir=/no\n").unwrap();
        assert_eq!(places().packages, Path::new("/srv/rpms"));
        assert_eq!(places().solver, Path::new("/srv/zypp/solv"));
    }
}
