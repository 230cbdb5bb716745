//! What pacman.conf(5) says, as pacman-conf(8) prints it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::arguments;
use super::database::DATABASE;
use crate::package::credentials::redacted;

/// The defaults of `CacheDir` and `HookDir`.
const CACHE: &str = "/var/cache/pacman/pkg/";
const HOOKS: &str = "/etc/pacman.d/hooks/";

/// A configuration with which package files can be installed where the host's own cannot be read: no
/// repositories, and of a file with a signature beside it that is checked.
pub const PLAIN: &str =
    "[options]\nArchitecture = auto\nCheckSpace\nLocalFileSigLevel = Optional\n";

/// A repository, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacmanRepository {
    /// Its name.
    pub name: String,
    /// Its first address, without user name and password.
    pub server: String,
    /// Of all its addresses the hosts, with their ports.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// The settings that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conf {
    /// Where package files are kept.
    pub caches: Vec<PathBuf>,
    /// Where the administrator's hooks lie.
    pub hooks: Vec<PathBuf>,
    /// The repositories whose databases are fetched, in order.
    pub repositories: Vec<PacmanRepository>,
    /// Whether packages are kept as they are (`IgnorePkg`, `IgnoreGroup`).
    pub ignores: bool,
    root: PathBuf,
    database: PathBuf,
}

impl Conf {
    /// Asks pacman-conf.
    pub fn read() -> Result<Self> {
        let conf = Self::parse(&arguments::configuration().output_checked()?);
        ensure!(
            conf.root == Path::new("/") && conf.database == Path::new(DATABASE),
            "pacman.conf sets another RootDir than / or another DBPath than {DATABASE}, which is not \
             supported",
        );
        Ok(conf)
    }

    /// What holds where pacman.conf cannot be read: the directories that pacman uses without a word of it
    /// (pacman.conf(5)), and no repository.
    pub fn default_directories() -> Self {
        Self {
            caches: vec![CACHE.into()],
            hooks: vec![HOOKS.into()],
            ..Self::default()
        }
    }

    /// Parses its output: `Key = value` lines below `[section]` headings, a list with one line for each.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut section = String::new();
        let mut servers = BTreeMap::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                name.clone_into(&mut section);
                continue;
            }
            let Some((key, value)) = line.split_once(" = ") else {
                continue;
            };
            match (section.as_str(), key) {
                ("options", "RootDir") => conf.root = value.into(),
                ("options", "DBPath") => conf.database = value.into(),
                ("options", "CacheDir") => conf.caches.push(value.into()),
                ("options", "HookDir") => conf.hooks.push(value.into()),
                ("options", "IgnorePkg" | "IgnoreGroup") => conf.ignores = true,
                (name, "Usage")
                    if name != "options"
                        && (value == "All" || value.split(' ').any(|usage| usage == "Sync")) =>
                {
                    conf.repositories.push(PacmanRepository {
                        name: name.to_owned(),
                        ..PacmanRepository::default()
                    });
                }
                (name, "Server") => {
                    let of_name: &mut Vec<String> = servers.entry(name.to_owned()).or_default();
                    of_name.push(redacted(value));
                }
                _ => {}
            }
        }
        for repository in &mut conf.repositories {
            let servers = servers.remove(&repository.name).unwrap_or_default();
            repository.hosts = servers.iter().map(|server| host(server)).collect();
            repository.server = servers.into_iter().next().unwrap_or_default();
        }
        conf
    }
}

/// The host of an address, as pacman names it when something cannot be fetched from there.
fn host(address: &str) -> String {
    match address.split_once("://") {
        Some(("file", _)) => "disk".to_owned(),
        Some((_, rest)) => rest.split('/').next().unwrap_or_default().to_owned(),
        None => String::new(),
    }
}

/// The file of that name in the first cache that has it.
pub fn in_caches(caches: &[PathBuf], name: impl AsRef<Path>) -> Option<PathBuf> {
    caches
        .iter()
        .map(|cache| cache.join(&name))
        .find(|file| file.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pacman-conf of pacman 7.0, shortened.
    const SHOWN: &str = "[options]\nRootDir = /\nDBPath = /var/lib/pacman/\n\
        CacheDir = /var/cache/pacman/pkg/\nCacheDir = /srv/pkg/\nHookDir = /etc/pacman.d/hooks/\n\
        IgnorePkg = oth*\nCheckSpace\nSigLevel = PackageRequired\n\
        [core]\nUsage = All\nServer = http://u:p@a/core\nServer = http://b/core\nServer = file:///core\n[seen]\nUsage = Search\nUsage = Install\n\
        [extra]\nUsage = Sync Search\n";

    #[test]
    fn the_settings_are_found() {
        let conf = Conf::parse(SHOWN);
        let repository = |name: &str, server: &str, hosts: &[&str]| PacmanRepository {
            name: name.into(),
            server: server.into(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
        };
        let expected = [
            repository("core", "http://a/core", &["a", "b", "disk"]),
            repository("extra", "", &[]),
        ];
        assert_eq!(conf.repositories, expected);
        assert_eq!(conf.caches.len(), 2);
        assert_eq!(conf.hooks, [Path::new("/etc/pacman.d/hooks/")]);
        assert_eq!(conf.database, Path::new(DATABASE));
        assert!(conf.ignores && !Conf::parse("[options]\nCheckSpace\n").ignores);
    }
}
