//! The file systems that packages are on, and what is free there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::worker::steps::mounts;

/// One file system.
#[derive(Debug)]
pub struct System {
    device: u64,
    /// Where it is mounted; the first place of several.
    pub place: String,
    /// How many bytes are free.
    pub free: u64,
    /// How many of them any update needs for databases and logs.
    pub floor: u64,
}

/// All of them.
pub struct Systems {
    mounts: Vec<PathBuf>,
    devices: BTreeMap<PathBuf, u64>,
    all: Vec<System>,
    /// The first directories of paths, links among them followed.
    tops: RefCell<BTreeMap<PathBuf, PathBuf>>,
}

impl Systems {
    /// Looks at those that packages may have files on. What is mounted over a network is none of them: it may
    /// not answer.
    pub fn read(floors: &[(&str, u64)]) -> Result<Self> {
        let mounts = mounts::mounts()?;
        let (mut devices, mut systems): (BTreeMap<PathBuf, u64>, Vec<System>) = Default::default();
        for mount in mounts::local()? {
            let Some((device, free)) = free(&mount) else {
                continue;
            };
            if systems.iter().all(|system| system.device != device) {
                systems.push(System {
                    device,
                    place: mount.display().to_string(),
                    free,
                    floor: floor(floors, device),
                });
            }
            devices.insert(mount, device);
        }
        Ok(Self {
            mounts,
            devices,
            all: systems,
            tops: RefCell::default(),
        })
    }

    pub fn all(&self) -> &[System] {
        &self.all
    }

    /// Whether /boot is there.
    pub fn has_boot(&self, system: &System) -> bool {
        self.is_on(Path::new("/boot"), system)
    }

    /// Whether a path is there, whether or not it exists.
    pub fn is_on(&self, path: &Path, system: &System) -> bool {
        let mut parts = path.components();
        let top: PathBuf = parts.by_ref().take(2).collect();
        let mut tops = self.tops.borrow_mut();
        let real = tops
            .entry(top)
            .or_insert_with_key(|top| fs::canonicalize(top).unwrap_or_else(|_| top.clone()));
        let mount = mounts::of(&real.join(parts.as_path()), &self.mounts);
        self.devices.get(&mount) == Some(&system.device)
    }

    /// How many bytes these files take there.
    pub fn taken(&self, files: &[PathBuf], system: &System) -> u64 {
        let size = |file: &PathBuf| {
            let file = fs::symlink_metadata(file).ok()?;
            file.is_file().then(|| file.blocks().saturating_mul(512))
        };
        let there = files.iter().filter(|file| self.is_on(file, system));
        there.filter_map(size).sum()
    }
}

/// What any update needs on a file system.
fn floor(floors: &[(&str, u64)], device: u64) -> u64 {
    let there = |(path, _): &&(&str, u64)| free(Path::new(path)).is_some_and(|f| f.0 == device);
    floors.iter().filter(there).map(|(_, floor)| floor).sum()
}

/// The file system of a path, and how many bytes are free there; none where there is no such path, or where the
/// file system has no size.
pub fn free(path: &Path) -> Option<(u64, u64)> {
    let device = fs::metadata(path).ok()?.dev();
    let stat = rustix::fs::statvfs(path).ok()?;
    (stat.f_blocks > 0).then(|| (device, stat.f_bavail.saturating_mul(stat.f_frsize)))
}
