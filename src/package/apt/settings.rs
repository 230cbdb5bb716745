//! What the administrator's configuration of apt says: where its lists lie, and how long it waits for a source.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::apt_config;
use super::options::options;
use crate::sorted::InOrder;

/// Where apt keeps its lists unless it is told otherwise (apt.conf(5), `Dir::State::lists`).
const LISTS: &str = "/var/lib/apt/lists";

/// Where it keeps its cache (`Dir::Cache::pkgcache`).
const CACHE: &str = "/var/cache/apt/pkgcache.bin";

/// The configuration as apt-config prints it for a shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Runs apt-config. Settings are empty where apt cannot read its configuration; the run of apt that follows reports
    /// why.
    pub fn ask() -> Self {
        let shown = apt_config::settings().output_checked();
        Self(parse(&shown.unwrap_or_default()))
    }

    /// The same, without running apt-config where no file sets it: the front ends read it often.
    pub fn of_places() -> Self {
        Self::where_named(&["state", "lists"])
    }

    /// The same of apt's caches.
    pub fn of_caches() -> Self {
        Self::where_named(&["cache"])
    }

    fn where_named(words: &[&str]) -> Self {
        if may_name(Path::new("/"), words) {
            Self::ask()
        } else {
            Self::default()
        }
    }

    /// Where apt keeps what it has made of the lists and of dpkg's status file; a directory where it keeps nothing.
    pub fn cache(&self) -> PathBuf {
        PathBuf::from(self.0.get(apt_config::CACHE).map_or(CACHE, String::as_str))
    }

    /// Where apt keeps its lists.
    pub fn lists(&self) -> PathBuf {
        let lists = self.0.get(apt_config::LISTS);
        let lists = lists.map(|lists| lists.trim_end_matches('/'));
        PathBuf::from(lists.filter(|lists| !lists.is_empty()).unwrap_or(LISTS))
    }

    /// Options for what the administrator has not configured: how long to wait for a source, and how often to retry.
    /// apt's defaults of half a minute and three retries exceed the limit of a refresh. A setting for http holds for
    /// https as well (`methods/http.cc` of apt).
    pub fn patience(&self) -> Vec<OsString> {
        let ours = [
            (&apt_config::TIMEOUT, "Acquire::http::Timeout=20"),
            (&apt_config::RETRIES, "Acquire::Retries=2"),
        ];
        let unsaid = ours
            .iter()
            .filter(|(names, _)| names.iter().all(|(name, _)| !self.0.contains_key(*name)));
        options(&unsaid.map(|(_, option)| option).collect::<Vec<_>>())
    }
}

/// Whether a file of apt's configuration may say where something lies, with one of these words; one that cannot be read
/// may.
fn may_name(root: &Path, words: &[&str]) -> bool {
    let mut files = vec![root.join("etc/apt/apt.conf")];
    let parts = fs::read_dir(root.join("etc/apt/apt.conf.d"));
    files.extend(
        parts
            .into_iter()
            .flatten()
            .flatten()
            .map(|part| part.path()),
    );
    files.iter().any(|file| match fs::read(file) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            text.contains("dir") && words.iter().any(|word| text.contains(word))
        }
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    })
}

/// Reads `NAME='value'`, one a line, as `apt-config shell` prints what is set.
fn parse(shown: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, value) = line.split_once("='")?;
        let value = value.strip_suffix('\'')?.replace(r"'\''", "'");
        Some((name.to_owned(), value))
    };
    shown.lines().filter_map(line).in_order()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(shown: &str) -> Vec<String> {
        let words = Settings(parse(shown)).patience();
        words
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .filter(|word| word != "-o")
            .collect()
    }

    #[test]
    fn what_the_administrator_says_stands() {
        let ours = ["Acquire::http::Timeout=20", "Acquire::Retries=2"];
        assert_eq!(patience(""), ours);
        assert_eq!(patience("LISTS='/var/lib/apt/lists/'\n"), ours);
        assert_eq!(patience("TIMEOUT='90'\n"), ours[1..]);
        assert_eq!(patience("RETRIES='0'\n"), ours[..1]);
        assert!(patience("TIMEOUT_OF_APT_GET='90'\nRETRIES_OF_APT_GET='1'\n").is_empty());
    }

    #[test]
    fn the_lists_are_where_apt_says() {
        let lists = |shown: &str| Settings(parse(shown)).lists();
        assert_eq!(lists(""), Path::new("/var/lib/apt/lists"));
        assert_eq!(
            lists("LISTS='/srv/apt/lists/'\n"),
            Path::new("/srv/apt/lists")
        );
        assert_eq!(lists(r"LISTS='/srv/it'\''s/'"), Path::new("/srv/it's"));
        assert_eq!(lists("LISTS=''\n"), Path::new("/var/lib/apt/lists"));
    }

    #[test]
    fn the_cache_is_where_apt_says() {
        let cache = |shown: &str| Settings(parse(shown)).cache();
        assert_eq!(cache(""), Path::new("/var/cache/apt/pkgcache.bin"));
        assert_eq!(
            cache("CACHE='/srv/apt/pkgcache.bin'\n"),
            Path::new("/srv/apt/pkgcache.bin")
        );
        assert_eq!(
            cache("CACHE='/var/cache/apt/'\n"),
            Path::new("/var/cache/apt/")
        );
    }

    #[test]
    fn apt_is_asked_only_where_a_file_may_say_something() {
        let root = tempfile::tempdir().unwrap();
        let parts = root.path().join("etc/apt/apt.conf.d");
        fs::create_dir_all(&parts).unwrap();
        assert!(!may_name(root.path(), &["state", "lists"]));
        fs::write(
            parts.join("20packagekit"),
            "DPkg::Post-Invoke {\"StateHasChanged\";};",
        )
        .unwrap();
        assert!(!may_name(root.path(), &["state", "lists"]));
        fs::write(parts.join("90lists"), "dir { state { lists \"/srv\"; }; };").unwrap();
        assert!(may_name(root.path(), &["state", "lists"]));
    }

    proptest::proptest! {
        #[test]
        fn any_output_is_survived(text in "([A-Z]+='?[^\n]{0,20}'?\n){0,3}") {
            let _ = Settings(parse(&text)).patience();
        }
    }
}
