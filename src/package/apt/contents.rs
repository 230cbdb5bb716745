//! Compares the files of installed packages with their package files: an audit by dpkg does not show what dpkg's own
//! list has lost.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::backend::Apt;
use super::placed::Placing;
use super::{arguments, dpkg, names};
use crate::package::damaged::{Damaged, FileDifference, verified};
use crate::package::{PackageId, RollbackItem, RollbackSource};
use crate::sorted::InOrder;

/// How long the download of a package file may take that is no longer on the host.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// The files that dpkg lists for a package.
#[derive(Debug, Default)]
pub struct DpkgEntry {
    /// Its paths, directories too.
    pub files: BTreeSet<String>,
    /// The configuration files among them that its present version still has.
    conffiles: BTreeSet<String>,
}

/// Which of these packages, each in its former version, lack files of their package file, or have others.
pub fn damaged(apt: &Apt, back: &[RollbackItem], scratch: &Path) -> Result<Vec<Damaged>> {
    let stays = |former: &&RollbackItem| {
        let source = &former.source;
        former.change.from.is_some()
            && !matches!(
                source,
                RollbackSource::NewlyInstalled | RollbackSource::Installonly
            )
    };
    let back: Vec<&RollbackItem> = back.iter().filter(stays).collect();
    if back.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<PackageId> = back
        .iter()
        .map(|former| former.change.former_key())
        .collect();
    let host = InstalledFiles {
        placing: Placing::read(&apt.dpkg),
        entered: entered(&keys)?,
        differing: differing(&keys)?,
        patience: apt.settings().patience(),
    };
    let mut found: Vec<Damaged> = back
        .iter()
        .map(|former| host.check(former, scratch))
        .collect();
    without_foreign(&mut found)?;
    Ok(found.into_iter().filter_map(Damaged::if_any).collect())
}

/// What the host has, for the comparison with package files.
struct InstalledFiles {
    placing: Placing,
    entered: BTreeMap<PackageId, DpkgEntry>,
    differing: BTreeSet<String>,
    /// How apt fetches what is missing.
    patience: Vec<OsString>,
}

impl InstalledFiles {
    fn check(&self, former: &RollbackItem, scratch: &Path) -> Damaged {
        let key = former.change.former_key();
        let version = former.change.from.as_deref().unwrap_or_default();
        let mut damaged = Damaged::none(key, version);
        match contents(former, scratch, &self.patience) {
            Ok(paths) => self.compare(&paths, &mut damaged),
            Err(why) => damaged.unknown = Some(format!("{why:#}")),
        }
        damaged
    }

    /// A missing configuration file was removed by the administrator, and dpkg leaves it so, unless the package no
    /// longer lists it: then purging its new owner removes it.
    fn compare(&self, paths: &[String], damaged: &mut Damaged) {
        let none = DpkgEntry::default();
        let entered = self.entered.get(&damaged.key).unwrap_or(&none);
        for path in paths {
            let Some(place) = self.placing.of(path, &damaged.key.package) else {
                continue;
            };
            let is_there = fs::symlink_metadata(place).is_ok();
            let is_entered = entered.files.contains(path);
            if !is_entered || !is_there && !entered.conffiles.contains(path) {
                damaged.missing.push(path.clone());
            } else if self.differing.contains(place) {
                damaged.differing.push(path.clone());
            }
        }
    }
}

/// A file that belongs to another installed package, as it did before, does not count as missing.
fn without_foreign(found: &mut [Damaged]) -> Result<()> {
    let is_there = |path: &&String| fs::symlink_metadata(path).is_ok();
    let missing = found.iter().flat_map(|damaged| &damaged.missing);
    let there: BTreeSet<&String> = missing.filter(is_there).in_order();
    if there.is_empty() {
        return Ok(());
    }
    let owned = owned(&there)?;
    for damaged in found {
        damaged.missing.retain(|path| !owned.contains(path));
    }
    Ok(())
}

/// What dpkg has entered of these packages, in one question; nothing of one that is not there.
pub fn entered(keys: &[PackageId]) -> Result<BTreeMap<PackageId, DpkgEntry>> {
    // it exits with 1 when one of them is not there
    let (_, output) = dpkg::query_contents(keys).output()?;
    Ok(parse(&output))
}

/// A line `=name:architecture` for each package, its files, a line with a dash, its configuration files with
/// their sums and marks.
fn parse(output: &str) -> BTreeMap<PackageId, DpkgEntry> {
    let mut packages = BTreeMap::new();
    let (mut current, mut entered, mut in_conffiles) = (None, DpkgEntry::default(), false);
    for line in output.lines() {
        if let Some(name) = line.strip_prefix('=') {
            if let Some(key) = current.take() {
                packages.insert(key, std::mem::take(&mut entered));
            }
            current = name
                .rsplit_once(':')
                .map(|(package, architecture)| PackageId::new(package, architecture));
            in_conffiles = false;
        } else if line == "-" {
            in_conffiles = true;
        } else if let Some(path) = line.strip_prefix(' ').filter(|_| !in_conffiles) {
            entered.files.insert(path.to_owned());
        } else if let Some((path, sum)) = line.strip_prefix(' ').and_then(|l| l.rsplit_once(' ')) {
            // `obsolete` and the like stand behind the sum
            if !sum.is_empty() && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                entered.conffiles.insert(path.to_owned());
            }
        }
    }
    if let Some(key) = current {
        packages.insert(key, entered);
    }
    packages
}

/// The files of these packages that have other contents than when they were unpacked.
fn differing(keys: &[PackageId]) -> Result<BTreeSet<String>> {
    let (_, output) = dpkg::verify(keys).output()?;
    let differs = |line| match verified(line) {
        Some(FileDifference::Differs(path)) => Some(path.to_owned()),
        _ => None,
    };
    Ok(output.lines().filter_map(differs).in_order())
}

/// Which of these paths belong to a package that is installed.
fn owned(paths: &BTreeSet<&String>) -> Result<BTreeSet<String>> {
    let database = dpkg::query_database().output_checked()?;
    let database = super::database::parse(&database)?;
    let installed: BTreeSet<&str> = database.keys().map(|key| &*key.package).in_order();
    // it exits with 1 when one of them belongs to none
    let (_, output) = dpkg::search(paths).output()?;
    let of_installed = |line: &str| {
        let (names, path) = line.split_once(": ")?;
        let mut names = names.split(", ").filter_map(|name| name.split(':').next());
        let is = names.any(|name| installed.contains(name));
        is.then(|| path.to_owned())
    };
    Ok(output.lines().filter_map(of_installed).in_order())
}

/// The files in the package file of a former version, without directories.
fn contents(former: &RollbackItem, scratch: &Path, patience: &[OsString]) -> Result<Vec<String>> {
    let own = scratch.join("fetched");
    let file = file(former, scratch).map_or_else(|| fetch(former, &own, patience), Ok);
    let output = file.and_then(|file| dpkg::contents(&file).output_checked());
    let _ = fs::remove_dir_all(own);
    Ok(output?.lines().filter_map(listed).collect())
}

/// Where the package file of a former version lies: where it was put aside, where the gate has put what was
/// fetched for going back, or in apt's cache.
pub fn file(former: &RollbackItem, scratch: &Path) -> Option<PathBuf> {
    if let Some(file) = former.source.file() {
        return Some(file.to_owned());
    }
    let name = names::file_name(&former.change.former_key(), former.change.from.as_deref()?);
    let places = [scratch, Path::new(names::ARCHIVES)].map(|place| place.join(&name));
    places.into_iter().find(|file| file.exists())
}

/// Fetches the package file of a former version into a directory of its own.
fn fetch(former: &RollbackItem, own: &Path, patience: &[OsString]) -> Result<PathBuf> {
    let name = names::former_name(&former.change).context("there was no former version")?;
    let fetch = || -> Result<PathBuf> {
        let _ = fs::remove_dir_all(own);
        fs::create_dir_all(own)?;
        let program = arguments::fetch(&name, own).args(patience);
        program.limit(FETCH_LIMIT).output_checked()?;
        let mut entries = fs::read_dir(own)?.flatten().map(|entry| entry.path());
        let is_package = |path: &PathBuf| path.extension().is_some_and(|e| e == "deb");
        entries.find(is_package).context("apt-get left no file")
    };
    fetch().context("its package file is not on this host")
}

/// The path of a line of `dpkg-deb --contents`, which is tar's: mode, owner, size, date, time, path, and what a
/// link leads to. Nothing for a directory.
fn listed(line: &str) -> Option<String> {
    let kind = line.chars().next()?;
    let mut rest = line;
    for _ in 0..5 {
        rest = rest.trim_start().split_once(' ')?.1;
    }
    let path = rest.trim_start().strip_prefix('.')?;
    let path = match kind {
        'd' => return None,
        'l' => path.split(" -> ").next()?,
        'h' => path.split(" link to ").next()?,
        _ => path,
    };
    Some(unescaped(path))
}

/// Without the backslashes by which tar writes what would not be plain in a line (`\\`, `\n`, `\303`).
fn unescaped(path: &str) -> String {
    if !path.contains('\\') {
        return path.to_owned();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(path.len()), path.as_bytes());
    while let [first, tail @ ..] = rest {
        let (byte, length) = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                ((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), 4)
            }
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'\\', ..]) => (b'\\', 2),
            _ => (*first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_list_of_contents() {
        // dpkg-deb 1.22.22, tar 1.35
        let output = "drwxr-xr-x root/root         0 2026-11-30 16:32 ./usr/share/c/\n\
            -rw-r--r-- root/root         2 2026-11-30 16:32 ./usr/share/c/a b\\\\s\n\
            -rwsr-xr-x root/root  12345678 2026-11-30 16:32 ./usr/bin/ü\\303\\274\n\
            lrwxrwxrwx root/root         0 2026-11-30 16:32 ./usr/lib/x.so.1 -> x.so.1.2\n\
            hrw-r--r-- root/root         0 2026-11-30 16:32 ./usr/bin/hard link to ./usr/bin/ü\n\
            crw-r--r-- root/root       1,3 2026-11-30 16:32 ./dev/n\n\
            torn\n";
        let paths: Vec<String> = output.lines().filter_map(listed).collect();
        assert_eq!(
            paths,
            [
                "/usr/share/c/a b\\s",
                "/usr/bin/üü",
                "/usr/lib/x.so.1",
                "/usr/bin/hard",
                "/dev/n"
            ]
        );
    }

    #[test]
    fn what_is_entered_is_read() {
        // dpkg-query 1.22.22; empty lines are not delivered
        let output = "=lib-n:all\n /.\n /usr/share/a b\n-\n /etc/a.conf 847676261680bff61c72961c8198abc0\n \
            /etc/b.conf 847676261680bff61c72961c8198abc0 obsolete\n=x:amd64\n-\n";
        let packages = parse(output);
        let key = |package: &str, architecture: &str| PackageId::new(package, architecture);
        let lib = &packages[&key("lib-n", "all")];
        assert!(lib.files.contains("/usr/share/a b") && lib.files.len() == 2);
        assert!(lib.conffiles.contains("/etc/a.conf") && lib.conffiles.len() == 1);
        assert!(packages[&key("x", "amd64")].files.is_empty());
        assert!(parse("").is_empty());
    }

    #[test]
    fn what_is_away_or_no_longer_entered_is_missed() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        for name in ["kept", "taken", "torn", "config"] {
            fs::write(path(name), "x").unwrap();
        }
        let names = ["kept", "taken", "torn", "gone", "config", "config-gone"];
        let paths: Vec<String> = names.iter().map(|name| path(name)).collect();
        let key = PackageId::new("a", "all");
        let entered = DpkgEntry {
            files: paths
                .iter()
                .filter(|p| **p != path("taken"))
                .cloned()
                .collect(),
            conffiles: [path("config"), path("config-gone")].into(),
        };
        let host = InstalledFiles {
            placing: Placing::default(),
            entered: [(key.clone(), entered)].into(),
            differing: [path("torn")].into(),
            patience: Vec::new(),
        };
        let mut damaged = Damaged::none(key, "1");
        host.compare(&paths, &mut damaged);
        assert_eq!(damaged.missing, [path("taken"), path("gone")]);
        assert_eq!(damaged.differing, [path("torn")]);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in "\\PC{0,40}", path in "[a-z\\\\0-9n ]{0,20}") {
            let _ = (listed(&line), unescaped(&path));
        }
    }
}
