//! Whether a unit has to do with an update: its files, its programs, or the libraries that those map are of a
//! package that was changed.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::package::{Change, PackageManager};
use crate::sorted::InOrder;
use crate::worker::steps::unit::Unit;
use crate::worker::steps::verify::{elf, programs};

/// How many libraries of one program are looked at; a browser has two hundred.
const LIBRARIES: usize = 1000;

/// Where the libraries of every program are looked for (ld.so(8)), besides the directories of an architecture.
const PLACES: [&str; 5] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"];

/// Directories that are links to those of the same name below /usr on most hosts: packages say one, units the other.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// What an update has changed, looked up when the first unit is asked about.
pub struct Concern<'a> {
    packages: &'a dyn PackageManager,
    changes: &'a [Change],
    files: OnceCell<BTreeSet<String>>,
    known: RefCell<BTreeMap<String, bool>>,
}

impl<'a> Concern<'a> {
    pub fn new(packages: &'a dyn PackageManager, changes: &'a [Change]) -> Self {
        Self {
            packages,
            changes,
            files: OnceCell::new(),
            known: RefCell::default(),
        }
    }

    /// Whether the unit has to do with it. It has, too, where that cannot be told.
    pub fn has(&self, unit: &str) -> bool {
        if let Some(known) = self.known.borrow().get(unit) {
            return *known;
        }
        let files = self.files.get_or_init(|| self.files());
        let has = files.is_empty() || Unit::ask(unit).map_or(true, |unit| concerns(files, &unit));
        self.known.borrow_mut().insert(unit.to_owned(), has);
        has
    }

    /// The files of the changed packages as they are now.
    fn files(&self) -> BTreeSet<String> {
        let installed = self.changes.iter().filter(|change| change.to.is_some());
        let files = installed.map(|change| {
            let now = Change {
                from: change.to.clone(),
                former_architecture: None,
                ..change.clone()
            };
            self.packages.files(&now)
        });
        let files = files.map(|files| {
            files.unwrap_or_else(|error| {
                tracing::warn!("the files of a package could not be listed: {error:#}");
                Vec::new()
            })
        });
        let files: Vec<Vec<PathBuf>> = files.collect();
        files.iter().flatten().map(|path| unmerged(path)).in_order()
    }
}

/// Whether one of these files is the unit's.
fn concerns(files: &BTreeSet<String>, unit: &Unit) -> bool {
    let is_among = |path: &Path| {
        let real = path.canonicalize();
        files.contains(&unmerged(path)) || real.is_ok_and(|real| files.contains(&unmerged(&real)))
    };
    if unit.files.iter().any(|file| is_among(Path::new(file))) {
        return true;
    }
    if unit.has_own_root {
        return false;
    }
    let named: Vec<PathBuf> = unit.programs.iter().map(PathBuf::from).collect();
    let interpreters = named.iter().flat_map(|path| programs::interpreters(path));
    let programs: Vec<PathBuf> = named.iter().cloned().chain(interpreters).collect();
    programs.iter().any(|program| is_among(program)) || maps(files, programs)
}

/// Whether one of these files is a library of the programs, or of their libraries.
fn maps(files: &BTreeSet<String>, programs: Vec<PathBuf>) -> bool {
    let name = |file: &String| {
        let name = Path::new(file).file_name()?.to_str()?;
        let is_library = Path::new(name).extension().is_some_and(|end| end == "so");
        (is_library || name.contains(".so.")).then(|| name.to_owned())
    };
    let changed: BTreeSet<String> = files.iter().filter_map(name).in_order();
    if changed.is_empty() {
        return false;
    }
    let places = places();
    let (mut due, mut seen) = (programs, BTreeSet::new());
    while let Some(file) = due.pop() {
        if !seen.insert(file.clone()) || seen.len() > LIBRARIES {
            continue;
        }
        let needs = elf::needs(&file).unwrap_or_default();
        if needs.libraries.iter().any(|name| changed.contains(name)) {
            return true;
        }
        let origin = file.canonicalize().unwrap_or_default();
        let origin = origin.parent().unwrap_or(Path::new("/")).to_string_lossy();
        let own = needs.paths.iter().map(|path| {
            let path = path.replace("${ORIGIN}", "$ORIGIN");
            PathBuf::from(path.replace("$ORIGIN", &origin))
        });
        let places: Vec<PathBuf> = own.chain(places.iter().cloned()).collect();
        let found = needs.libraries.iter().filter_map(|name| {
            let mut found = places.iter().map(|place| place.join(name));
            found.find(|path| path.is_file())
        });
        due.extend(found);
    }
    false
}

/// Where libraries of this host are; Debian has a directory for each architecture.
fn places() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let of_architecture = entries
        .filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"))
        .map(|entry| entry.path());
    PLACES
        .iter()
        .map(PathBuf::from)
        .chain(of_architecture)
        .collect()
}

/// The path as it would be where / and /usr were apart.
fn unmerged(path: &Path) -> String {
    let text = path.to_string_lossy();
    let below = text.strip_prefix("/usr/").filter(|below| {
        let first = below.split('/').next().unwrap_or_default();
        MERGED.contains(&first)
    });
    below.map_or_else(|| text.clone().into_owned(), |below| format!("/{below}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concern(files: &[&str], unit: &Unit) -> bool {
        let files = files.iter().map(|file| unmerged(Path::new(file)));
        concerns(&files.in_order(), unit)
    }

    fn runs(program: &str) -> Unit {
        Unit {
            files: vec!["/etc/systemd/system/a.service".into()],
            programs: vec![program.into()],
            ..Unit::default()
        }
    }

    #[test]
    fn a_unit_is_concerned_by_its_file_and_its_program() {
        let unit = Unit {
            files: vec!["/lib/systemd/system/a.service".into()],
            ..runs("/usr/bin/nothing")
        };
        assert!(concern(&["/usr/lib/systemd/system/a.service"], &unit));
        assert!(concern(&["/bin/nothing"], &unit));
        assert!(!concern(&["/usr/bin/nothing-else"], &unit));
        let elsewhere = Unit {
            has_own_root: true,
            ..unit
        };
        assert!(!concern(&["/bin/nothing"], &elsewhere));
    }

    #[test]
    fn a_script_runs_its_interpreter_and_a_program_its_libraries() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        fs::write(&script, "#!/usr/bin/env nothing\n").unwrap();
        let unit = runs(script.to_str().unwrap());
        assert!(concern(&["/usr/bin/env"], &unit));
        assert!(!concern(&["/usr/bin/nothing-else"], &unit));

        // of the C library it needs one at least, by way of others as well
        let own = fs::canonicalize("/proc/self/exe").unwrap();
        let unit = runs(own.to_str().unwrap());
        assert!(concern(&["/usr/lib/anywhere/libc.so.6"], &unit));
        assert!(!concern(&["/usr/lib/anywhere/libnothing.so.6"], &unit));
    }
}
