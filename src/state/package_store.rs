//! The packages we keep: what an update brought stays on the disk, so that the next one can be undone.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checksum;
use crate::fs::write_atomically;
use crate::host::clock;
use crate::package::{Database, PackageId, StoredPackage};
use crate::paths::Paths;
use crate::sorted::{InOrder, sort_by_key};

/// The package files and their index. A file counts once its entry is written: then it is on the disk,
/// whole, and its SHA-256 is known.
#[derive(Debug, Default)]
pub struct PackageStore {
    directory: PathBuf,
    entries: Vec<StoredPackage>,
}

impl PackageStore {
    /// The store of this host. An index that cannot be used is put aside.
    #[must_use]
    pub fn open(paths: &Paths) -> Self {
        let directory = paths.packages();
        let entries = super::read_to_change(&directory.join(INDEX)).unwrap_or_default();
        Self { directory, entries }
    }

    /// Where files lie that are not entered yet.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files.
    #[must_use]
    pub fn kept(&self) -> &[StoredPackage] {
        &self.entries
    }

    /// The path of a package file once it is held.
    #[must_use]
    pub fn place_of(&self, file: &Path) -> Option<PathBuf> {
        Some(self.directory.join(file.file_name()?))
    }

    /// Gives the file a second name in the store, so that a clean-up of the package manager's cache
    /// takes nothing from us; on another file system it is copied.
    pub fn hold(&self, file: &Path) -> Result<PathBuf> {
        let hold = || -> io::Result<PathBuf> {
            let place = self
                .place_of(file)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            if place == file {
                return Ok(place);
            }
            // a file that is there already is replaced by the whole file or not at all
            let new = self.directory.join("new");
            remove(&new)?;
            let held = match fs::hard_link(file, &new) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    fs::copy(file, &new).map(|_| ())
                }
                other => other,
            };
            let held = held.and_then(|()| fs::rename(&new, &place));
            // also when both are one file: then rename(2) does nothing
            remove(&new)?;
            held.map(|()| place)
        };
        hold().with_context(|| format!("failed to keep '{}'", file.display()))
    }

    /// Enters a file that is held: it is written out, its sum is taken, and from the next
    /// [`save`](Self::save) on it counts.
    pub fn enter(&mut self, key: &PackageId, version: &str, place: &Path) -> Result<()> {
        let enter = || -> Result<StoredPackage> {
            let file = File::open(place)?;
            file.sync_all()?;
            Ok(StoredPackage {
                package: key.package.clone(),
                architecture: key.architecture.clone(),
                version: version.to_owned(),
                size: file.metadata()?.len(),
                sha256: checksum::sha256_of_file(place)?,
                file: place.to_owned(),
                kept_at: clock::now(),
                other: serde_json::Map::new(),
                ..StoredPackage::default()
            })
        };
        let kept = enter().with_context(|| format!("failed to keep '{}'", place.display()))?;
        let is_same = |old: &StoredPackage| {
            old.key() == *key && old.version == version && old.sha256 == kept.sha256
        };
        self.entries
            .retain(|old| old.file != kept.file && !is_same(old));
        self.entries.push(kept);
        Ok(())
    }

    /// Enters which build of its version a file is.
    pub fn know_build(&mut self, place: &Path, build: String) {
        let mut entries = self.entries.iter_mut();
        if let Some(kept) = entries.find(|kept| kept.file == place) {
            kept.build = Some(build);
        }
    }

    /// Gives a file a name of its own by its sum, because another build of its version has the same name; where
    /// it lies then.
    pub fn rename(&mut self, place: &Path, sha256: &str) -> Result<PathBuf> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let other = self.directory.join(format!("{sha256:.16}-{name}"));
        let link = || -> io::Result<()> {
            remove(&other)?;
            fs::hard_link(place, &other)
        };
        link().with_context(|| format!("failed to keep '{}'", place.display()))?;
        let mut entries = self.entries.iter_mut();
        if let Some(kept) = entries.find(|kept| kept.file == place) {
            kept.file.clone_from(&other);
        }
        self.save()?;
        Ok(other)
    }

    /// Writes the index.
    pub fn save(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.entries)?;
        write_atomically(&self.directory.join(INDEX), &bytes, 0o644)
    }

    /// Throws away what is beyond `limit` bytes: first versions that are not installed any more, then
    /// installed ones, each the oldest first, and never the files that are `needed`. What lies there
    /// without an entry was left by a process that died, and is removed, too.
    pub fn evict(
        &mut self,
        limit: u64,
        installed: &Database,
        needed: &BTreeSet<PathBuf>,
    ) -> Result<()> {
        let victims = victims(&self.entries, limit, installed, needed);
        self.entries
            .retain(|kept| !victims.contains(&kept.file) && kept.file.exists());
        // an entry without its file would be a promise; a file without its entry is only a waste
        self.save()?;
        let entered: BTreeSet<&Path> = self.entries.iter().map(|kept| &*kept.file).in_order();
        for entry in fs::read_dir(&self.directory)?.flatten() {
            let path = entry.path();
            let ours = path.ends_with(INDEX)
                || path.ends_with(ASIDE)
                || entered.contains(&*path)
                || needed.contains(&path);
            if !ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::remove_file(&path)
                    .with_context(|| format!("failed to remove '{}'", path.display()))?;
            }
        }
        Ok(())
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The index's name in the directory of the store.
const INDEX: &str = "index.json";

/// That of one which could not be used.
const ASIDE: &str = "index.json.bad";

/// Which files have to go: pure.
fn victims(
    entries: &[StoredPackage],
    limit: u64,
    installed: &Database,
    needed: &BTreeSet<PathBuf>,
) -> BTreeSet<PathBuf> {
    let is_installed = |kept: &StoredPackage| {
        let now = installed.get(&kept.key());
        now.is_some_and(|now| {
            let is_other = kept.build.is_some() && now.build != kept.build;
            now.version == kept.version && !is_other
        })
    };
    let mut total: u64 = entries.iter().map(|kept| kept.size).sum();
    let mut order: Vec<&StoredPackage> = entries
        .iter()
        .filter(|kept| !needed.contains(&kept.file))
        .collect();
    sort_by_key(&mut order, |kept| (is_installed(kept), kept.kept_at));
    let mut victims = BTreeSet::new();
    for kept in order {
        if total <= limit {
            break;
        }
        total -= kept.size;
        victims.insert(kept.file.clone());
    }
    victims
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Installed, PackageState};

    fn key(package: &str) -> PackageId {
        PackageId {
            package: package.into(),
            architecture: "all".into(),
        }
    }

    #[test]
    fn a_kept_file_outlives_the_one_it_was_made_of() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        fs::create_dir_all(paths.packages()).unwrap();
        let cached = root.path().join("a_1_all.deb");
        fs::write(&cached, "a").unwrap();
        let mut store = PackageStore::open(&paths);
        let place = store.hold(&cached).unwrap();
        assert_eq!(store.hold(&cached).unwrap(), place, "one file by then");
        fs::remove_file(&cached).unwrap();
        store.enter(&key("a"), "1", &place).unwrap();
        store.save().unwrap();
        let again = PackageStore::open(&paths);
        assert_eq!(again.kept(), store.kept());
        assert_eq!(again.kept()[0].sha256, checksum::sha256(b"a"));
        assert_eq!(again.kept()[0].size, 1);
        assert!(store.hold(&cached).is_err());
        fs::create_dir(&cached).unwrap();
        assert!(store.hold(&cached).is_err(), "half a file");
        assert_eq!(fs::read(&place).unwrap(), b"a", "what was kept stays");
        assert_eq!(fs::read_dir(paths.packages()).unwrap().count(), 2);
    }

    #[test]
    fn two_builds_of_one_version_are_kept_apart() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        fs::create_dir_all(paths.packages()).unwrap();
        let cached = root.path().join("a_1_all.deb");
        let mut store = PackageStore::open(&paths);
        let mut keep = |text: &str| {
            let _ = fs::remove_file(&cached);
            fs::write(&cached, text).unwrap();
            let place = store.hold(&cached).unwrap();
            store.enter(&key("a"), "1", &place).unwrap();
            store.know_build(&place, text.to_owned());
            if text == "first" {
                store.rename(&place, &checksum::sha256(b"first")).unwrap();
            }
        };
        ["first", "second", "second"]
            .into_iter()
            .for_each(&mut keep);
        store.save().unwrap();
        let again = PackageStore::open(&paths);
        let kept: Vec<&str> = again
            .kept()
            .iter()
            .filter_map(|k| k.build.as_deref())
            .collect();
        assert_eq!(kept, ["first", "second"]);
        for kept in again.kept() {
            assert_eq!(kept.sha256, checksum::sha256_of_file(&kept.file).unwrap());
        }
        let now = Installed {
            version: "1".into(),
            build: Some("first".into()),
            ..Installed::default()
        };
        let database = Database::from([(key("a"), now)]);
        let gone = victims(again.kept(), 6, &database, &BTreeSet::new());
        assert_eq!(gone, BTreeSet::from([paths.packages().join("a_1_all.deb")]));
    }

    #[test]
    fn what_is_not_installed_goes_first_and_what_is_needed_never() {
        let kept = |package: &str, version: &str, minute: i64| StoredPackage {
            package: package.into(),
            architecture: "all".into(),
            version: version.into(),
            file: format!("/{package}_{version}").into(),
            sha256: String::new(),
            size: 10,
            kept_at: chrono::DateTime::from_timestamp(minute * 60, 0).unwrap(),
            other: serde_json::Map::new(),
            ..StoredPackage::default()
        };
        let entries = [
            kept("a", "1", 1),
            kept("a", "2", 2),
            kept("b", "1", 3),
            kept("b", "2", 4),
        ];
        let installed = |version: &str| Installed {
            version: version.into(),
            state: PackageState::Good,
            held: false,
            ..Installed::default()
        };
        let database = Database::from([(key("a"), installed("1")), (key("b"), installed("2"))]);
        let gone = |limit: u64, needed: &[&str]| -> Vec<String> {
            let needed = needed.iter().map(PathBuf::from).collect();
            let victims = victims(&entries, limit, &database, &needed);
            victims.iter().map(|v| v.display().to_string()).collect()
        };
        assert_eq!(gone(40, &[]), [""; 0]);
        assert_eq!(gone(39, &[]), ["/a_2"]);
        assert_eq!(gone(20, &[]), ["/a_2", "/b_1"]);
        assert_eq!(gone(10, &[]), ["/a_1", "/a_2", "/b_1"]);
        assert_eq!(gone(0, &["/a_2", "/b_2"]), ["/a_1", "/b_1"]);
    }
}
