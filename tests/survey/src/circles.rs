//! Circles: files of which each reaches every other one by imports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::imports::Import;

/// Every greatest set of at least two files that reach each other.
pub fn circles(imports: &[Import]) -> Vec<BTreeSet<PathBuf>> {
    let mut next: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for import in imports {
        next.entry(&import.from).or_default().push(&import.to);
    }
    let reached: BTreeMap<&Path, BTreeSet<&Path>> = next
        .keys()
        .map(|file| (*file, reach(file, &next)))
        .collect();
    let together = |file: &Path| -> BTreeSet<PathBuf> {
        let others = reached[file]
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)));
        others.map(|other| other.to_path_buf()).collect()
    };
    let circles: BTreeSet<BTreeSet<PathBuf>> = next.keys().map(|file| together(file)).collect();
    circles
        .into_iter()
        .filter(|circle| circle.len() > 1)
        .collect()
}

/// Every file that can be reached from one; itself only if a way leads back.
fn reach<'a>(from: &'a Path, next: &BTreeMap<&'a Path, Vec<&'a Path>>) -> BTreeSet<&'a Path> {
    let (mut reached, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(file) = waiting.pop() {
        let unseen = next
            .get(file)
            .into_iter()
            .flatten()
            .filter(|to| reached.insert(**to));
        waiting.extend(unseen.copied());
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_the_whole_knot() {
        let import = |text: &str| {
            let (from, to) = text.split_once(' ').unwrap_or_default();
            Import {
                from: from.into(),
                to: to.into(),
                names: BTreeSet::new(),
            }
        };
        let imports = ["a b", "b c", "c a", "b d", "d b", "d e", "e f"].map(import);
        let knot: BTreeSet<PathBuf> = ["a", "b", "c", "d"].map(PathBuf::from).into();
        assert_eq!(circles(&imports), [knot]);
    }
}
