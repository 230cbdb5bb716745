//! What dpkg keeps of packages that are gone: their configuration files, and an entry in the state `config-files`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{dpkg, locks};
use crate::package::repair_step::run_repair_step;
use crate::package::{Observer, PackageId};
use crate::sorted::InOrder;

/// The configuration files of a package, each with its MD5 sum as the package had it.
type Conffiles = BTreeMap<String, String>;

/// The packages in the state `config-files`, as dpkg's own file says it.
pub fn find(dpkg: &Path) -> Result<BTreeSet<PackageId>> {
    Ok(read(dpkg)?.into_keys().in_order())
}

fn read(dpkg: &Path) -> Result<BTreeMap<PackageId, Conffiles>> {
    let path = dpkg.join("status");
    let status = fs::read(&path).with_context(|| format!("failed to read '{}'", path.display()))?;
    Ok(parse(&String::from_utf8_lossy(&status)))
}

/// A paragraph for each package; ` PATH SUM` for each of its configuration files.
fn parse(status: &str) -> BTreeMap<PackageId, Conffiles> {
    let mut remains = BTreeMap::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let is_left = field("Status").is_some_and(|status| status.ends_with(" config-files"));
        let (Some(package), Some(architecture)) = (field("Package"), field("Architecture")) else {
            continue;
        };
        if !is_left {
            continue;
        }
        let lines = paragraph.lines().skip_while(|line| *line != "Conffiles:");
        let lines = lines.skip(1).take_while(|line| line.starts_with(' '));
        let conffile = |line: &str| {
            let mut words = line.trim_start().rsplitn(2, ' ');
            let (sum, path) = (words.next()?, words.next()?);
            Some((path.to_owned(), sum.to_owned()))
        };
        let key = PackageId::new(package, architecture);
        remains.insert(key, lines.filter_map(conffile).in_order());
    }
    remains
}

/// Purges those of these packages whose configuration files are unchanged, did not exist before, and belong to no other
/// package. Their scripts are not run: `postrm purge` may delete data, also of a former package that it counts as its
/// own (as those of database servers do). Returns the packages that stay, each with why.
pub fn clear(
    dpkg: &Path,
    gone: &[PackageId],
    is_new: &dyn Fn(&str) -> bool,
    log: &Path,
    observer: &mut dyn Observer,
) -> Result<Vec<(PackageId, String)>> {
    let mut left = read(dpkg)?;
    left.retain(|key, _| gone.contains(key));
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let is_there = |path: &&String| fs::symlink_metadata(path).is_ok();
    let paths: BTreeSet<&String> = left.values().flat_map(Conffiles::keys).in_order();
    let there: BTreeSet<&String> = paths.into_iter().filter(is_there).in_order();
    let sums = sums(&there)?;
    let owners = owners(&there)?;
    let (mut cleared, mut stay) = (Vec::new(), Vec::new());
    for (key, conffiles) in &left {
        let mut there = conffiles.iter().filter(|(path, _)| there.contains(path));
        let why = there.find_map(|(path, sum)| {
            let mut owners = owners.get(path).into_iter().flatten();
            if let Some(other) = owners.find(|owner| **owner != key.package) {
                Some(format!("{path} belongs to {other} as well"))
            } else if !is_new(path) {
                Some(format!("{path} was there before, or that is not known"))
            } else if sums.get(path) != Some(sum) {
                Some(format!("{path} was changed"))
            } else {
                None
            }
        });
        match why {
            Some(why) => stay.push((key.clone(), why)),
            None => cleared.push(key.clone()),
        }
    }
    if !cleared.is_empty() {
        locks::wait_until_free(dpkg, observer)?;
        for key in &cleared {
            let names = [key.package.clone(), key.to_string()];
            for script in names.map(|name| dpkg.join("info").join(format!("{name}.postrm"))) {
                let _ = fs::remove_file(script);
            }
        }
        run_repair_step(&dpkg::purge(&cleared), log, observer)?;
        let still = read(dpkg)?;
        let kept = cleared.into_iter().filter(|key| still.contains_key(key));
        stay.extend(kept.map(|key| (key, "dpkg has not removed it".to_owned())));
    }
    Ok(stay)
}

/// The MD5 sums of files, by which dpkg tells whether a configuration file was changed.
fn sums(paths: &BTreeSet<&String>) -> Result<BTreeMap<String, String>> {
    if paths.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (_, output) = dpkg::md5sums(paths).output()?;
    let sum = |line: &str| {
        let (sum, path) = line.split_once("  ")?;
        Some((path.to_owned(), sum.to_owned()))
    };
    Ok(output.lines().filter_map(sum).in_order())
}

/// The packages that have these files, also those that are gone but for them.
fn owners(paths: &BTreeSet<&String>) -> Result<BTreeMap<String, Vec<String>>> {
    if paths.is_empty() {
        return Ok(BTreeMap::new());
    }
    // it exits with 1 when one of them belongs to none
    let (_, output) = dpkg::search(paths).output()?;
    let of = |line: &str| {
        let (names, path) = line.split_once(": ")?;
        let name = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
        Some((path.to_owned(), names.split(", ").map(name).collect()))
    };
    Ok(output.lines().filter_map(of).in_order())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_state_file() {
        // dpkg 1.22.22
        let status = "Package: new\nStatus: deinstall ok config-files\nPriority: optional\n\
            Architecture: all\nVersion: 1.0\nConfig-Version: 1.0\nConffiles:\n \
            /etc/new/a b.conf 847676261680bff61c72961c8198abc0\n /etc/new.conf d41d8cd98f00b204e9800998ecf8427e\n\
            Description: x\n y\n\nPackage: there\nStatus: install ok installed\nArchitecture: all\n\
            Conffiles:\n /etc/there.conf d41d8cd98f00b204e9800998ecf8427e\n\n\
            Package: kernel\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 6\n";
        let remains = parse(status);
        let names: Vec<String> = remains.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["kernel:amd64", "new:all"]);
        let of_new: Vec<&String> = remains.values().flat_map(Conffiles::keys).collect();
        assert_eq!(of_new, ["/etc/new.conf", "/etc/new/a b.conf"]);
    }
}
