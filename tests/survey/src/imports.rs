//! Which file imports which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::files::Sources;
use crate::paths::{Resolver, Use};

/// One file that names items of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The file that names them.
    pub from: PathBuf,
    /// The file that defines them.
    pub to: PathBuf,
    /// The first segments of their paths within that file.
    pub names: BTreeSet<String>,
}

/// Every import between two files of the crate: what `use` brings in and what other paths name. To import a module
/// is to import what is then named of it; a re-export is an import only where the file itself uses the name.
pub fn imports(sources: &Sources) -> Vec<Import> {
    let resolver = Resolver::new(sources);
    let mut found: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
    for (number, paths) in resolver.files.iter().enumerate() {
        let is_used = |item: &&Use| !item.is_public || paths.names.contains(&item.name);
        let used = paths.uses.iter().filter(is_used).map(|item| &item.path);
        for path in used.chain(&paths.plain) {
            if let Some((file, names)) = resolver.resolve(number, path)
                && let Some(name) = names.into_iter().next()
                && file != number
            {
                found.entry((number, file)).or_default().insert(name);
            }
        }
    }
    let path = |file: usize| sources.files[file].path.clone();
    let import = |((from, to), names)| Import {
        from: path(from),
        to: path(to),
        names,
    };
    found.into_iter().map(import).collect()
}
