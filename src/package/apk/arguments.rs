//! The command lines given to apk: pure builders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::exec::Program;

/// How long apk waits for its lock, in seconds; without this it exits with 99 at once (FACTS 58).
const WAIT: &str = "600";

/// apk, with a private cache: its indexes are the ones that a refresh has confirmed, and packages are in it before the
/// first file changes. An administrator's own cache is left alone.
#[derive(Debug)]
pub struct Arguments {
    /// The path of apk.
    pub program: PathBuf,
    /// Our cache.
    pub cache: PathBuf,
}

impl Arguments {
    fn apk(&self) -> Program {
        Program::new(&self.program)
            .arg("--cache-dir")
            .arg(&self.cache)
            .arg("--no-progress")
    }

    /// Fetches the index of every repository.
    pub fn update(&self) -> Program {
        self.apk()
            .args(["--wait", "100", "update"])
            .die_with_parent()
    }

    /// Shows what an upgrade of these packages, or of everything, would do.
    pub fn simulate(&self, names: &[String]) -> Program {
        self.apk().args(["upgrade", "--simulate", "--"]).args(names)
    }

    /// Lists installed packages that have a newer version.
    pub fn newer(&self) -> Program {
        self.apk().args(["version", "-v", "-l", "<"])
    }

    /// Fetches packages into our cache.
    pub fn download(&self, packages: &[String]) -> Program {
        let download = ["--wait", WAIT, "cache", "--upgrade", "download", "--"];
        self.apk().args(download).args(packages).die_with_parent()
    }

    /// Upgrades these packages, or everything. Nothing here weakens authentication.
    pub fn upgrade(&self, names: &[String]) -> Program {
        self.apk()
            .args(["--wait", WAIT, "upgrade", "--"])
            .args(names)
    }

    /// Installs package files over whatever version there is. It pins them in `/etc/apk/world` (FACTS 60),
    /// which is written back afterwards.
    pub fn install(&self, files: &[PathBuf]) -> Program {
        self.apk().args(["--wait", WAIT, "add", "--"]).args(files)
    }

    /// Installs packages again over what an interrupted run left of them.
    pub fn fix<S: AsRef<OsStr>>(&self, names: &[S]) -> Program {
        self.apk()
            .args(["--wait", WAIT, "fix", "--upgrade", "--reinstall", "--"])
            .args(names)
    }
}

/// The file that lists what is to be there.
pub const WORLD: &str = "/etc/apk/world";

/// Where the database of installed packages may lie.
pub fn database() -> PathBuf {
    let places = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"].map(Path::new);
    let there = places.iter().find(|place| place.exists());
    there.unwrap_or(&places[0]).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_behind_the_options_and_the_lock_is_waited_for() {
        let apk = Arguments {
            program: "/sbin/apk".into(),
            cache: "/c".into(),
        };
        assert_eq!(
            apk.upgrade(&["demo".to_owned()]).shown(),
            "/sbin/apk --cache-dir /c --no-progress --wait 600 upgrade -- demo"
        );
        assert_eq!(
            apk.simulate(&[]).shown(),
            "/sbin/apk --cache-dir /c --no-progress upgrade --simulate --"
        );
    }
}
