//! Directories with programs of the administrator, which run as root: whose they are, and in which order they run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::sorted;

/// The programs of a directory in the order of their names; none when it is not there. What an editor or a
/// package manager has left beside them is passed over, as run-parts(8) does.
pub fn hooks(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    trusted(directory)?;
    let meant = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| is_word(name) && !is_left_over(name))
    };
    let mut hooks: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    hooks.retain(meant);
    hooks.retain(|path| fs::metadata(path).is_ok_and(|m| !m.is_dir() && m.mode() & 0o111 != 0));
    sorted::sort(&mut hooks);
    Ok(hooks)
}

/// Whether a name has only the characters that run-parts(8) takes, and dots.
#[must_use]
pub fn is_word(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// Whether a name is one that an editor or a package manager gives to a backup copy of a file.
#[must_use]
pub fn is_left_over(name: &str) -> bool {
    let suffixes = [
        "~",
        "#",
        ".dpkg-old",
        ".dpkg-dist",
        ".dpkg-new",
        ".rpmnew",
        ".rpmsave",
        ".rpmorig",
        ".pacnew",
        ".pacsave",
        ".pacorig",
        ".apk-new",
        ".ucf-dist",
        ".ucf-new",
        ".ucf-old",
    ];
    name.starts_with('.') || suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// A user who can write to a file that root runs can act as root. Only root may own it, or the user who runs it:
/// that is root, too, except in unit tests.
pub fn trusted(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path)?;
    let runner = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != runner {
        bail!(
            "it is not run: it belongs to user {}, not to root; run 'chown root' on it",
            metadata.uid()
        );
    }
    if metadata.mode() & 0o022 != 0 {
        bail!("it is not run: users other than root may write to it; run 'chmod go-w' on it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn hooks_are_programs_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        for (name, mode) in [
            ("20-b", 0o755),
            ("10-a", 0o755),
            ("README", 0o644),
            (".hidden", 0o755),
            ("10-a~", 0o755),
            ("10-a.dpkg-old", 0o755),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(directory.path().join("30-c")).unwrap();
        assert!(hooks(&directory.path().join("none")).unwrap().is_empty());
        let hooks = hooks(directory.path()).unwrap();
        let names: Vec<_> = hooks.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["10-a", "20-b"]);
    }

    #[test]
    fn what_others_may_write_to_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        let hook = directory.path().join("hook");
        fs::write(&hook, "").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o775)).unwrap();
        assert!(trusted(&hook).is_err());
    }
}
