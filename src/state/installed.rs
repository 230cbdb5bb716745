//! The names of the installed packages, by which every front end and the worker judge the names of a request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::package::Database;
use crate::request::{PackageName, Target};
use crate::sorted;

/// The most names that are said to be near another one, and the most unknown names that one message tells.
const SHOWN: usize = 3;

/// How many characters of a name may be missing, added, replaced or swapped for it to be near another one.
const NEAR: usize = 2;

/// The names of the installed packages, each with the architectures that it is installed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(BTreeMap<String, BTreeSet<String>>);

/// A request names packages that are not installed; each with the installed names that are near it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotInstalled(Vec<(PackageName, Vec<String>)>);

impl Names {
    /// Those of a package database.
    #[must_use]
    pub fn of(database: &Database) -> Self {
        let mut names = Self::default();
        for key in database.keys() {
            names.add(&key.package, &key.architecture);
        }
        names
    }

    /// Those of packages that are written as `name:architecture`.
    pub fn of_keys<'a>(keys: impl Iterator<Item = &'a String>) -> Self {
        let mut names = Self::default();
        for key in keys {
            let (package, architecture) = key.rsplit_once(':').unwrap_or((key, ""));
            names.add(package, architecture);
        }
        names
    }

    fn add(&mut self, package: &str, architecture: &str) {
        let architectures = self.0.entry(package.to_owned()).or_default();
        architectures.insert(architecture.to_owned());
    }

    /// Judges a target: an error when it names a package that is not installed under exactly that name, and in
    /// that architecture where it names one.
    pub fn judge(&self, target: &Target) -> Result<(), NotInstalled> {
        let Target::Packages(names) = target else {
            return Ok(());
        };
        let unknown = names.iter().filter(|name| !self.has(name));
        let unknown: Vec<_> = unknown
            .map(|name| (name.clone(), self.near(name)))
            .collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(NotInstalled(unknown))
        }
    }

    fn has(&self, name: &PackageName) -> bool {
        let (package, architecture) = parts(name);
        let installed = self.0.get(package);
        installed.is_some_and(|in_these| architecture.is_none_or(|one| in_these.contains(one)))
    }

    /// The installed names that the caller may have meant, the nearest first.
    fn near(&self, name: &PackageName) -> Vec<String> {
        let (package, _) = parts(name);
        if let Some(architectures) = self.0.get(package) {
            let architectures = architectures.iter().take(SHOWN);
            return architectures
                .map(|one| format!("{package}:{one}"))
                .collect();
        }
        // of a short name, two other characters leave nothing
        let limit = NEAR.min(package.len() / 3);
        let distance = |known: &String| {
            let distance = distance(package, known, limit)?;
            Some((distance, known.clone()))
        };
        let mut near: Vec<(usize, String)> = self.0.keys().filter_map(distance).collect();
        if near.is_empty() && package.len() > NEAR {
            let longer = self.0.keys().filter(|known| known.starts_with(package));
            near = longer.map(|known| (known.len(), known.clone())).collect();
        }
        sorted::sort(&mut near);
        near.into_iter().take(SHOWN).map(|(_, name)| name).collect()
    }
}

/// A name, and the architecture that it asks for.
fn parts(name: &PackageName) -> (&str, Option<&str>) {
    match name.as_str().split_once(':') {
        Some((package, architecture)) => (package, Some(architecture)),
        None => (name.as_str(), None),
    }
}

/// How many characters of `one` have to be left out, added, replaced, or swapped with their neighbour to make
/// `other` of it (the optimal string alignment distance); none when they are more than `limit`.
fn distance(one: &str, other: &str, limit: usize) -> Option<usize> {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len().abs_diff(other.len()) > limit {
        return None;
    }
    let first: Vec<usize> = (0..=other.len()).collect();
    let mut rows = [Vec::new(), Vec::new(), first];
    for (i, letter) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, its) in other.iter().enumerate() {
            let replaced = rows[2][j] + usize::from(letter != its);
            let mut least = replaced.min(rows[2][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == other[j - 1] && one[i - 1] == *its {
                least = least.min(rows[1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.rotate_left(1);
        rows[2] = row;
    }
    rows[2].last().copied().filter(|least| *least <= limit)
}

impl fmt::Display for NotInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, near)) in self.0.iter().take(SHOWN).enumerate() {
            let between = if number == 0 { "" } else { "; " };
            write!(f, "{between}{name} is not installed")?;
            if !near.is_empty() {
                write!(f, " (installed are: {})", near.join(", "))?;
            }
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => {}
            more => write!(f, "; nor are {more} more of the names")?,
        }
        f.write_str("; only installed packages are updated")
    }
}

impl std::error::Error for NotInstalled {}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let keys = [
            "demo:all",
            "libx:amd64",
            "libx:i386",
            "nginx:amd64",
            "demo-doc:all",
        ];
        Names::of_keys(keys.map(str::to_owned).iter())
    }

    fn judged(asked: &[&str]) -> String {
        let target = Target::from_names(asked).unwrap();
        names()
            .judge(&target)
            .map_or_else(|no| no.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_installed_may_be_asked_for() {
        for asked in [
            &["demo"][..],
            &["libx:i386", "nginx"],
            &["all"],
            &["security"],
        ] {
            assert_eq!(judged(asked), "");
        }
    }

    #[test]
    fn what_is_not_is_named_with_what_is_near() {
        let only = "only installed packages are updated";
        for (asked, said) in [
            ("demp", "demp is not installed (installed are: demo)"),
            ("ngixn", "ngixn is not installed (installed are: nginx)"),
            ("Demo", "Demo is not installed (installed are: demo)"),
            (
                "demo-d",
                "demo-d is not installed (installed are: demo, demo-doc)",
            ),
            (
                "libx:arm64",
                "libx:arm64 is not installed (installed are: libx:amd64, libx:i386)",
            ),
            ("ngi", "ngi is not installed (installed are: nginx)"),
            ("xy", "xy is not installed"),
        ] {
            assert_eq!(judged(&[asked]), format!("{said}; {only}"));
        }
        assert_eq!(
            judged(&["a", "b", "c", "d", "demo"]),
            format!(
                "a is not installed; b is not installed; c is not installed; nor are 1 more of the names; {only}"
            )
        );
    }

    #[test]
    fn the_distance_counts_a_swap_as_one() {
        assert_eq!(distance("demo", "demo", 2), Some(0));
        assert_eq!(distance("demo", "deom", 2), Some(1));
        assert_eq!(distance("demo", "dmo", 2), Some(1));
        assert_eq!(distance("demo", "domes", 2), None);
        assert_eq!(distance("demo", "dom", 2), Some(2));
    }
}
