//! What pacman.conf(5) says, as pacman-conf(8) prints it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::{DATABASE, arguments};

/// The settings that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// Where package files are kept.
    pub caches: Vec<PathBuf>,
    /// Where the administrator's hooks lie.
    pub hooks: Vec<PathBuf>,
    /// The repositories whose databases are fetched, in order.
    pub repositories: Vec<String>,
    root: PathBuf,
    database: PathBuf,
}

impl Conf {
    /// Asks pacman-conf.
    pub fn read() -> Result<Self> {
        let conf = Self::parse(&arguments::configuration().capture()?);
        ensure!(
            conf.root == Path::new("/") && conf.database == Path::new(DATABASE),
            "pacman.conf sets another RootDir than / or another DBPath than {DATABASE}, which is not \
             supported",
        );
        Ok(conf)
    }

    /// Parses its output: `Key = value` lines below `[section]` headings, a list with one line for each.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut section = String::new();
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
                (name, "Usage")
                    if name != "options"
                        && (value == "All" || value.split(' ').any(|usage| usage == "Sync")) =>
                {
                    conf.repositories.push(name.to_owned());
                }
                _ => {}
            }
        }
        conf
    }
}

/// The first address of a repository, without user name and password.
pub fn server(repository: &str) -> Result<String> {
    let text = arguments::repository(repository).capture()?;
    let server = text.lines().find_map(|line| line.strip_prefix("Server = "));
    Ok(redacted(server.unwrap_or_default()))
}

/// A text in which no address has a user name or password.
pub fn redacted(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let Some((scheme, rest)) = word.split_once("://") else {
            return word.to_owned();
        };
        let end = rest.find('/').unwrap_or(rest.len());
        match rest[..end].rfind('@') {
            Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pacman-conf of pacman 7.0, shortened.
    const SHOWN: &str = "[options]\nRootDir = /\nDBPath = /var/lib/pacman/\n\
        CacheDir = /var/cache/pacman/pkg/\nCacheDir = /srv/pkg/\nHookDir = /etc/pacman.d/hooks/\n\
        IgnorePkg = oth*\nCheckSpace\nSigLevel = PackageRequired\n\
        [core]\nUsage = All\nServer = http://a/core\n[seen]\nUsage = Search\nUsage = Install\n\
        [extra]\nUsage = Sync Search\n";

    #[test]
    fn the_settings_are_found() {
        let conf = Conf::parse(SHOWN);
        assert_eq!(conf.repositories, ["core", "extra"]);
        assert_eq!(conf.caches.len(), 2);
        assert_eq!(conf.hooks, [Path::new("/etc/pacman.d/hooks/")]);
        assert_eq!(conf.database, Path::new(DATABASE));
    }

    #[test]
    fn no_password_is_passed_on() {
        assert_eq!(redacted("from http://u:p@h/x y@z"), "from http://h/x y@z");
        assert_eq!(redacted("http://u:p/w@h/x@y"), "http://u:p/w@h/x@y");
    }
}
