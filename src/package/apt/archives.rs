//! Compares package files with the index.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use super::index::{self, Index};
use super::{dpkg, names};
use crate::checksum;
use crate::package::{Change, Footprint, tar};

/// apt checks what it downloads, but not what lies in its cache already with the right size (FACTS 14). So only older
/// files are compared, of which there are usually none.
pub fn remove_damaged(index: &Index, changes: &[Change], since: SystemTime) -> Result<Vec<String>> {
    let since = since
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let since = (
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        i64::from(since.subsec_nanos()),
    );
    let older = |file: &Path| fs::metadata(file).is_ok_and(|m| (m.ctime(), m.ctime_nsec()) < since);
    let cached: Vec<_> = changes
        .iter()
        .filter_map(|change| Some((change, change.file.as_deref()?)))
        .filter(|(change, file)| change.to.is_some() && older(file))
        .collect();
    if cached.is_empty() {
        return Ok(Vec::new());
    }
    let answer = index.of(changes)?;
    let records = answer.whole()?;
    let mut damaged = Vec::new();
    for (change, file) in cached {
        // several sources may carry the same version in different builds
        let records = records.iter();
        let mut known = records
            .filter(|record| names::new_name(change).as_ref() == Some(&record.name))
            .filter_map(|record| record.sha256.as_deref())
            .peekable();
        let actual = checksum::sha256_of_file(file)?;
        if known.peek().is_some() && !known.any(|known| known == actual) {
            fs::remove_file(file)?;
            damaged.push(file.display().to_string());
        }
    }
    Ok(damaged)
}

/// The files of the installed version, by dpkg's list; those in the package file of a new package.
pub fn of(dpkg: &Path, change: &Change) -> Result<Vec<PathBuf>> {
    if let Some(listed) = listed(dpkg, change) {
        return Ok(listed);
    }
    let Some(file) = change.file.as_deref().filter(|file| file.exists()) else {
        return Ok(Vec::new());
    };
    Ok(tar::files(&dpkg::contents(file).output_checked()?))
}

/// The files and directories of the installed version, by dpkg's list; none where there is no such list.
fn listed(dpkg: &Path, change: &Change) -> Option<Vec<PathBuf>> {
    let key = change.former_key();
    let lists = [format!("{key}.list"), format!("{}.list", key.package)];
    let mut lists = lists.iter().map(|name| dpkg.join("info").join(name));
    let list = lists.find_map(|list| fs::read_to_string(list).ok())?;
    Some(list.lines().map(PathBuf::from).collect())
}

/// `Installed-Size` of both versions of each change. `apt-cache show` knows the installed versions, too. A package
/// that does not say it takes four times its file.
pub fn footprints(index: &Index, changes: &[Change]) -> Result<Vec<Footprint>> {
    let answer = index.of(changes)?;
    let records = answer.whole()?;
    let size = |name: Option<String>| {
        let of = |record: &&index::IndexRecord| Some(&record.name) == name.as_ref();
        let sizes = records.iter().filter(of).filter_map(|record| record.size);
        sizes.max()
    };
    let footprint = |change: &Change| Footprint {
        new: size(names::new_name(change)).unwrap_or_else(|| change.file_size().saturating_mul(4)),
        old: size(names::former_name(change)).unwrap_or(0),
    };
    Ok(changes.iter().map(footprint).collect())
}

/// How many bytes each package file brings `there`. A package file is not opened where dpkg lists no file of the
/// package there.
pub fn brings(
    dpkg: &Path,
    changes: &[Change],
    there: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Option<u64>>> {
    let known = |change: &Change| listed(dpkg, change);
    tar::brought(changes, there, known, dpkg::contents)
}
