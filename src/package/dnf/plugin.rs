//! The gate as a plugin of dnf 4: one run downloads, asks and changes, where it would take one to download
//! and another to change. Anything that keeps dnf from loading it is noticed before something changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Dialect;
use crate::fs::write_atomically;
use crate::package::rpm::held;

/// What dnf is given to load.
const PLUGIN: &str = include_str!("gate.py");

/// The line by which the plugin tells that it is there.
pub const LOADED: &str = "patch_gate: loaded";

/// The variable in which it finds the gate's program and arguments.
pub const GATE: &str = "PATCH_GATE";

/// Writes the plugin into a directory of ours; the value for dnf's `pluginpath`, with the plugins that dnf
/// loads by itself. None where that is not to be known, and for those that have no such plugins.
pub fn set_up(dialect: Dialect, scratch: &Path) -> Result<Option<String>> {
    let configured = !held::of_dnf("pluginpath").is_empty();
    let usual = match dialect {
        Dialect::Dnf4 if !configured => usual(Path::new("/usr/lib")),
        _ => None,
    };
    let Some(usual) = usual else {
        return Ok(None);
    };
    let directory = scratch.join("dnf");
    fs::create_dir_all(&directory)
        .with_context(|| format!("failed to create '{}'", directory.display()))?;
    write_atomically(&directory.join("patch_gate.py"), PLUGIN.as_bytes(), 0o644)?;
    Ok(Some(format!("{},{}", usual.display(), directory.display())))
}

/// Where dnf's own plugins lie: beside its code, below the one version of Python that has it
/// (`PLUGINPATH` of `dnf/const.py`).
fn usual(lib: &Path) -> Option<PathBuf> {
    let of = |python: &fs::DirEntry| {
        let is_python = python.file_name().to_string_lossy().starts_with("python3");
        let places = ["site-packages", "dist-packages"].map(|place| python.path().join(place));
        places
            .into_iter()
            .find(|place| is_python && place.join("dnf/const.py").exists())
    };
    let mut found = fs::read_dir(lib).ok()?.flatten().filter_map(|p| of(&p));
    let place = found.next()?;
    found.next().is_none().then(|| place.join("dnf-plugins"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dnf_s_own_plugins_are_found_where_they_are_unmistakable() {
        let lib = tempfile::tempdir().unwrap();
        assert_eq!(usual(lib.path()), None);
        let code = |python: &str| lib.path().join(python).join("dnf");
        fs::create_dir_all(lib.path().join("python3.9/site-packages")).unwrap();
        let place = "python3.13/site-packages";
        fs::create_dir_all(code(place)).unwrap();
        fs::write(code(place).join("const.py"), "").unwrap();
        let plugins = lib.path().join(place).join("dnf-plugins");
        assert_eq!(usual(lib.path()), Some(plugins));
        let other = "python3/dist-packages";
        fs::create_dir_all(code(other)).unwrap();
        fs::write(code(other).join("const.py"), "").unwrap();
        assert_eq!(usual(lib.path()), None, "which of them runs?");
    }
}
