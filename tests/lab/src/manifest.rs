//! What a package contains, as its own file says, and how a host differs from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};

use crate::files::{Seen, Tree};
use crate::host::Host;
use crate::past::files_of;
use crate::{cache, machine};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    /// A file, by its SHA-256.
    File(String),
    /// A file that belongs to the administrator once it is there.
    Conffile(String),
    /// A link, by what it names.
    Link(String),
}

impl Entry {
    /// A directory may be a link to one, as on a merged `/usr`; a configuration file may be any.
    fn is_served_by(&self, now: &Self) -> bool {
        match self {
            Self::Directory => matches!(now, Self::Directory | Self::Link(_)),
            Self::Conffile(_) => true,
            Self::File(_) | Self::Link(_) => self == now,
        }
    }
}

/// Every path of a package with what it has there. Written as text, one line each, in a fixed order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<String, Entry>);

impl Manifest {
    /// Reads a package file of dpkg's; no package manager's database is asked.
    #[track_caller]
    pub fn of(deb: &Path) -> Self {
        Self::try_of(deb)
            .unwrap_or_else(|error| panic!("failed to read '{}': {error:#}", deb.display()))
    }

    fn try_of(deb: &Path) -> Result<Self> {
        let bytes = fs::read(deb)?;
        let file = cache::build_once("manifests", &cache::key([&bytes]), |partial| {
            let tree = partial.with_extension("tree");
            cache::remove(&tree)?;
            let extract = ["--raw-extract".as_ref(), deb.as_os_str(), tree.as_os_str()];
            machine::run("dpkg-deb", &extract)?;
            fs::write(partial, Self::of_tree(&tree)?.to_text())?;
            cache::remove(&tree)
        })?;
        Self::parse(&fs::read_to_string(file)?)
    }

    /// Of a package that was taken apart, with its control files in `DEBIAN`.
    pub(crate) fn of_tree(tree: &Path) -> Result<Self> {
        let conffiles = fs::read_to_string(tree.join("DEBIAN/conffiles")).unwrap_or_default();
        let mut entries = BTreeMap::new();
        for path in files_of(tree)? {
            let relative = path.strip_prefix(tree)?.to_str().context("not UTF-8")?;
            if relative.starts_with("DEBIAN") {
                continue;
            }
            let name = format!("/{relative}");
            let metadata = fs::symlink_metadata(&path)?;
            let entry = if metadata.is_dir() {
                Entry::Directory
            } else if metadata.is_symlink() {
                Entry::Link(fs::read_link(&path)?.display().to_string())
            } else {
                let sum = cache::sha256_of(&mut File::open(&path)?)?;
                if conffiles.lines().any(|line| line == name) {
                    Entry::Conffile(sum)
                } else {
                    Entry::File(sum)
                }
            };
            entries.insert(name, entry);
        }
        Ok(Self(entries))
    }

    /// One line for each path, as [`parse`](Self::parse) reads it.
    pub(crate) fn to_text(&self) -> String {
        self.0
            .iter()
            .fold(String::new(), |mut text, (path, entry)| {
                let _ = match entry {
                    Entry::Directory => writeln!(text, "directory\t\t{path}"),
                    Entry::File(sum) => writeln!(text, "file\t{sum}\t{path}"),
                    Entry::Conffile(sum) => writeln!(text, "conffile\t{sum}\t{path}"),
                    Entry::Link(target) => writeln!(text, "link\t{target}\t{path}"),
                };
                text
            })
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let line = |line: &str| {
            let parts: Vec<&str> = line.splitn(3, '\t').collect();
            let [kind, value, path] = parts[..] else {
                return None;
            };
            let entry = match kind {
                "directory" => Entry::Directory,
                "file" => Entry::File(value.to_owned()),
                "conffile" => Entry::Conffile(value.to_owned()),
                _ => Entry::Link(value.to_owned()),
            };
            Some((path.to_owned(), entry))
        };
        let entries: Option<BTreeMap<_, _>> = text.lines().map(line).collect();
        Ok(Self(entries.context("a line of a manifest has no path")?))
    }

    /// Whether the package has this path.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

/// A look at every file that a set of packages has: what is missing, and what is another one.
///
/// Files of an administrator (conffiles) have to be there; what is in them is not judged. Paths that a
/// package has diverted are looked for where they were diverted to.
#[track_caller]
pub fn differences<'a>(
    host: &Host,
    packages: impl IntoIterator<Item = (&'a str, &'a Manifest)>,
) -> Vec<String> {
    let packages: Vec<_> = packages.into_iter().collect();
    let diverted = diversions(&host.read("/var/lib/dpkg/diversions"));
    let place = |package: &str, path: &str| match diverted.get(path) {
        Some((to, by)) if by != package => to.clone(),
        _ => path.to_owned(),
    };
    let tree = host.tree().unwrap_or_else(|error| panic!("{error:#}"));
    let mut found = Vec::new();
    for (package, manifest) in packages {
        for (path, entry) in &manifest.0 {
            let wrong = match look(&tree, &place(package, path)) {
                None => "is missing".to_owned(),
                Some(now) if entry.is_served_by(&now) => continue,
                Some(now) => format!("is {now:?} and not {entry:?}"),
            };
            found.push(format!("{package}: {path} {wrong}"));
        }
    }
    found
}

/// What the host has at a path.
fn look(tree: &Tree, path: &str) -> Option<Entry> {
    match tree.look(path).ok()? {
        Seen::Directory => Some(Entry::Directory),
        Seen::Link(target) => Some(Entry::Link(target)),
        Seen::File(mut file) => cache::sha256_of(&mut file).ok().map(Entry::File),
    }
}

/// Three lines each: the path, where it is now, the package that has diverted it.
fn diversions(text: &str) -> BTreeMap<String, (String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(3)
        .map(|three| {
            (
                three[0].to_owned(),
                (three[1].to_owned(), three[2].to_owned()),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let text =
            "conffile\tab\t/etc/x\ndirectory\t\t/usr\nfile\tcd\t/usr/a b\nlink\t../x\t/usr/y\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.to_text(), text);
        assert!(manifest.has("/usr/a b") && !manifest.has("/usr/c"));
        assert!(Manifest::parse("file\n").is_err());
    }

    #[test]
    fn diversions_are_read_in_threes() {
        let diverted = diversions("/usr/bin/a\n/usr/bin/a.real\nb\n");
        assert_eq!(
            diverted["/usr/bin/a"],
            ("/usr/bin/a.real".to_owned(), "b".to_owned())
        );
    }
}
