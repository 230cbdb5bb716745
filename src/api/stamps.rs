//! What of the files behind a picture tells that one of them has changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::status::records;
use crate::config;
use crate::paths::Paths;
use crate::state::{services, shutdown};

/// When the files behind a picture have changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Stamps {
    pub records: Vec<Stamp>,
    pub directories: Vec<Access>,
    pub progress: Stamp,
    pub database: Vec<Stamp>,
    /// The files that `database` is of.
    pub database_files: Vec<&'static str>,
    pub units: Vec<String>,
    pub fingerprint: String,
}

/// What of a file tells that it has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64, u64, i64, i64, i64, i64);

/// What of a directory tells who may use it: its number, owner, group and mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(u64, u32, u32, u32);

impl Stamps {
    /// The stamps of now, with what was seen of the units that wake us.
    pub fn of(
        paths: &Paths,
        units: Vec<String>,
        fingerprint: String,
        database_files: Vec<&'static str>,
    ) -> Self {
        Self {
            records: files(paths).iter().map(|path| stamp(path)).collect(),
            directories: directories(paths).map(|path| access(&path)).to_vec(),
            progress: stamp(&paths.progress()),
            database: database_files
                .iter()
                .map(|path| stamp(&paths.host(path)))
                .collect(),
            database_files,
            units,
            fingerprint,
        }
    }
}

/// The directories of which a picture says only whether they can be used. Their contents are not part of it: every
/// caller who asks for a plan has entries come and go there.
fn directories(paths: &Paths) -> [PathBuf; 6] {
    [
        paths.jobs(),
        paths.tmp(),
        paths.conflicts(),
        paths.deferred(),
        paths.inquiries(),
        paths.keys(),
    ]
}

/// The files behind a picture.
fn files(paths: &Paths) -> Vec<PathBuf> {
    let mut files = vec![paths.state(), paths.queue()];
    // the records themselves, too: another program may write one in place
    files.extend(records(paths));
    let others = [
        "/run/reboot-required",
        "/run/reboot-required.pkgs",
        shutdown::SCHEDULED,
        "/run/linux_patch_api/services.json",
        "/run/linux_patch_api/at-work",
        "/run/linux_patch_api/reboot-taken-back.json",
        "/run/reboot-needed",
        services::MANAGER_SOCKET,
        "/run/systemd/transient/patch-reboot.timer",
        "/boot",
        "/usr/lib/modules",
        "/usr/lib/linux_patch_api/config.d",
        "/etc/linux_patch_api/config.toml",
        "/etc/linux_patch_api/config.d",
        "/run/linux_patch_api/config.d",
    ];
    files.extend(others.iter().map(|path| paths.host(path)));
    // a fragment that is edited in place leaves its directory as it was
    files.extend(config::fragments(paths).unwrap_or_default());
    files
}

fn access(path: &Path) -> Access {
    std::fs::metadata(path).map_or(Access(0, 0, 0, 0), |m| {
        Access(m.ino(), m.uid(), m.gid(), m.mode())
    })
}

fn stamp(path: &Path) -> Stamp {
    // the change of the inode tells another owner or mode
    std::fs::metadata(path).map_or(Stamp(0, 0, 0, 0, 0, 0), |m| {
        let (modified, changed) = ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()));
        Stamp(
            m.ino(),
            m.size(),
            modified.0,
            modified.1,
            changed.0,
            changed.1,
        )
    })
}
