//! Makes a package one version older: other programs and libraries, other configuration defaults, a file the present version drops and one it brings.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::relations::{self, Steps};
use crate::deb::field;
use crate::machine;
use crate::manifest::Manifest;

/// Where a former package has a file that the present one has not.
const DROPPED: &str = "usr/share/former";

/// Takes `present` apart in `work`, and writes the same package one version earlier to `former`, with what
/// both contain.
pub(super) fn make(
    present: &Path,
    work: &Path,
    former: &Path,
    steps: &Steps,
) -> Result<[Manifest; 2]> {
    let extract = [
        "--raw-extract".as_ref(),
        present.as_os_str(),
        work.as_os_str(),
    ];
    machine::run("dpkg-deb", &extract)?;
    let before = Manifest::of_tree(work)?;
    let path = work.join("DEBIAN/control");
    let control = fs::read_to_string(&path).context("the package has no control file")?;
    let earlier = relations::earlier(&control, steps, compare);
    fs::write(&path, &earlier)?;
    change_files(work, &earlier)?;
    let after = Manifest::of_tree(work)?;
    // the owners and modes of the files are those of the package; fast rather than small
    let build = ["--build", "-Zzstd", "-z1"].map(AsRef::as_ref);
    let build = [&build[..], &[work.as_os_str(), former.as_os_str()]].concat();
    machine::run("dpkg-deb", &build)?;
    Ok([before, after])
}

/// As dpkg orders versions.
fn compare(one: &str, other: &str) -> Ordering {
    let is = |relation| {
        let status = Command::new("dpkg")
            .args(["--compare-versions", one, relation, other])
            .status();
        status.is_ok_and(|status| status.success())
    };
    match (is("lt"), is("eq")) {
        (true, _) => Ordering::Less,
        (_, true) => Ordering::Equal,
        _ => Ordering::Greater,
    }
}

fn change_files(tree: &Path, control: &str) -> Result<()> {
    let [name, version] =
        ["Package", "Version"].map(|name| field(control, name).unwrap_or_default());
    let mark = format!("\n{name} {version}\n");
    let mut changed = Vec::new();
    let mut seen = BTreeSet::new();
    let mut brought = None;
    for path in files_of(tree)? {
        let metadata = fs::symlink_metadata(&path)?;
        if !metadata.is_file() || path.starts_with(tree.join("DEBIAN")) {
            continue;
        }
        if is_program(&path)? {
            // a second name of the same file has the mark already
            if seen.insert(metadata.ino()) {
                append(&path, &mark)?;
            }
            changed.push(path);
        } else if brought.is_none() && path.ends_with("changelog.Debian.gz") {
            brought = Some(path);
        }
    }
    if let Some(path) = &brought {
        fs::remove_file(path)?;
    }
    changed.extend(change_conffiles(tree, version)?);
    let dropped = tree.join(DROPPED).join(name);
    fs::create_dir_all(tree.join(DROPPED))?;
    fs::write(&dropped, format!("{version}\n"))?;
    changed.push(dropped);
    change_sums(tree, &changed, brought.as_deref())
}

/// What begins as an ELF file does: nothing reads what stands behind its sections.
fn is_program(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut start)?;
    Ok(start == b"\x7fELF")
}

fn append(path: &Path, text: &str) -> Result<()> {
    let mut file = File::options().append(true).open(path)?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("failed to change '{}'", path.display()))
}

/// One more comment at the end of each configuration file that begins with one.
fn change_conffiles(tree: &Path, version: &str) -> Result<Vec<PathBuf>> {
    let list = fs::read_to_string(tree.join("DEBIAN/conffiles")).unwrap_or_default();
    let mut changed = Vec::new();
    for name in list.lines().filter(|line| line.starts_with('/')) {
        let path = tree.join(name.trim_start_matches('/'));
        let text = fs::read(&path).unwrap_or_default();
        if text.starts_with(b"#") && text.ends_with(b"\n") {
            append(&path, &format!("# as of {version}\n"))?;
            changed.push(path);
        }
    }
    Ok(changed)
}

/// Brings the package's own checksums up to date; a package may come without them.
fn change_sums(tree: &Path, changed: &[PathBuf], removed: Option<&Path>) -> Result<()> {
    let list = tree.join("DEBIAN/md5sums");
    let Ok(former) = fs::read_to_string(&list) else {
        return Ok(());
    };
    let relative = |path: &Path| path.strip_prefix(tree).map(Path::to_owned);
    let conffiles = fs::read_to_string(tree.join("DEBIAN/conffiles")).unwrap_or_default();
    let is_conffile = |path: &Path| {
        conffiles
            .lines()
            .any(|line| Path::new(line.trim_start_matches('/')) == path)
    };
    let mut stale = BTreeSet::new();
    let mut md5sum = Command::new("md5sum");
    md5sum.arg("--").current_dir(tree);
    for path in changed {
        let path = relative(path)?;
        if !is_conffile(&path) {
            md5sum.arg(&path);
        }
        stale.insert(path);
    }
    if let Some(path) = removed {
        stale.insert(relative(path)?);
    }
    let kept = former.lines().filter(|line| {
        let path = line.split_once("  ").map_or("", |(_, path)| path);
        !stale.contains(Path::new(path))
    });
    let mut sums: String = kept.flat_map(|line| [line, "\n"]).collect();
    sums += &machine::run_command(&mut md5sum)?;
    fs::write(&list, sums).context("failed to write the checksums")
}

/// Everything below a directory, itself not, in a fixed order.
pub(crate) fn files_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut ahead = vec![directory.to_owned()];
    while let Some(directory) = ahead.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("failed to read '{}'", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                ahead.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
