//! The repositories of RPM packages: where they are configured, and what of them lies in a cache.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::xml::{self, Node};
use crate::package::Source;
use crate::sorted::{self, InOrder};

/// A repository as its file configures it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repository {
    /// Its id; zypper calls it alias.
    pub id: String,
    /// The name it is shown by.
    pub name: String,
    /// The first of its addresses, or of the lists of them, without credentials.
    pub uri: String,
    /// Whether it is used.
    pub enabled: bool,
    /// Whether it may be away, by its own `skip_if_unavailable` (dnf.conf(5)).
    pub may_fail: bool,
}

/// Every repository of the `.repo` files in these directories (yum.conf(5), "[repository] OPTIONS";
/// the same files serve zypper).
pub fn configured(directories: &[&str]) -> Vec<Repository> {
    let mut files: Vec<PathBuf> = directories
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "repo"))
        .collect();
    sorted::sort(&mut files);
    files
        .iter()
        .filter_map(|file| fs::read(file).ok())
        .flat_map(|bytes| parse(&String::from_utf8_lossy(&bytes)))
        .collect()
}

fn parse(text: &str) -> Vec<Repository> {
    let mut repositories: Vec<Repository> = Vec::new();
    let mut key = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(id) = trimmed.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            repositories.push(Repository {
                id: id.to_owned(),
                name: id.to_owned(),
                enabled: true,
                ..Repository::default()
            });
            continue;
        }
        let Some(repository) = repositories.last_mut() else {
            continue;
        };
        // a value may go on in indented lines
        let value = match trimmed.split_once('=') {
            Some((name, value)) if !line.starts_with([' ', '\t']) => {
                name.trim().clone_into(&mut key);
                value.trim()
            }
            _ => trimmed,
        };
        match key.as_str() {
            "name" => value.clone_into(&mut repository.name),
            "enabled" => repository.enabled = !matches!(value, "0" | "no" | "false" | "False"),
            "skip_if_unavailable" => {
                let yes = ["1", "yes", "true", "on"];
                repository.may_fail = yes.iter().any(|yes| value.eq_ignore_ascii_case(yes));
            }
            "baseurl" | "mirrorlist" | "metalink" if repository.uri.is_empty() => {
                let first = value.split([',', ' ']).next().unwrap_or_default();
                repository.uri = without_credentials(first);
            }
            _ => {}
        }
    }
    repositories
}

/// The text with what stands before an `@` in the host of its addresses left out.
pub fn without_credentials(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let ends = |c: char| c == '/' || c == '"' || c == '\'' || c.is_whitespace();
    let (authority, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{before}://{host}{}", without_credentials(after))
}

/// What a `repomd.xml` says of its repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryIndex {
    /// The date it gives of itself: the newest of its parts.
    pub date: Option<DateTime<Utc>>,
    /// Whether it carries advisories.
    pub advisories: bool,
}

/// Parses a `repomd.xml`; nothing when it is none, such as the page of a captive portal, which zypper
/// takes for an empty repository and reports as up to date (FACTS 42).
pub fn index(document: &str) -> Option<RepositoryIndex> {
    let mut index = RepositoryIndex::default();
    let (mut is_repomd, mut has_primary, mut newest, mut inside) = (false, false, None, "");
    for node in &xml::nodes(document) {
        match node {
            Node::Start { name, attributes } => {
                inside = name;
                is_repomd |= name == "repomd";
                if name == "data" {
                    let kind = attributes.get("type").map_or("", String::as_str);
                    has_primary |= kind == "primary";
                    index.advisories |= kind == "updateinfo";
                }
            }
            Node::Text(text) if matches!(inside, "timestamp") => {
                // createrepo may write fractions
                let seconds = text.split('.').next().and_then(|s| s.parse::<i64>().ok());
                newest = newest.max(seconds);
            }
            _ => {}
        }
    }
    index.date = newest.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    (is_repomd && has_primary).then_some(index)
}

/// The record of a repository after a refresh, which said `error` of it. Its index, as
/// it lies in the cache, may be missing, or be none at all.
pub fn source(
    id: &str,
    configured: Option<&Repository>,
    error: Option<String>,
    indexes: &BTreeMap<String, Option<RepositoryIndex>>,
) -> Source {
    let index = indexes.get(id);
    let wrong = match index {
        None => Some("its index is missing after the refresh"),
        Some(None) => Some("its index is not a list of packages"),
        Some(Some(_)) => None,
    };
    Source {
        uri: configured.map_or_else(String::new, |repository| repository.uri.clone()),
        suite: id.to_owned(),
        last_success: None,
        index_date: index.and_then(|index| index.as_ref()?.date),
        // the package manager's own words are nearer to the cause
        error: error.or(wrong.map(str::to_owned)),
        went_back: false,
        tolerated: configured.is_some_and(|repository| repository.may_fail),
        file: String::new(),
    }
}

/// What stands in the names of files of metadata that no update depends on (`createrepo_c(8)`, `modifyrepo_c(8)`):
/// lists of files, change logs, groups, deltas, advisories, descriptions for people.
const EXTRAS: [&str; 10] = [
    "filelists",
    "other.",
    "comps",
    "group",
    "prestodelta",
    "deltainfo",
    "updateinfo",
    "appdata",
    "appstream",
    "susedata",
];

/// Whether a file of a repository's metadata is one that no update depends on.
pub fn is_extra(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    !name.starts_with("repomd.xml")
        && !name.contains("primary")
        && EXTRAS.iter().any(|extra| name.contains(extra))
}

/// The record of a repository that lacks such a file alone. The tool takes all files of a repository or none, so
/// that its updates wait, and those of no other.
pub fn lacking_extras(source: Source, tool: &str) -> Source {
    let why = source.error.unwrap_or_default();
    let why = format!(
        "{why} (no update depends on that file, but {tool} takes all files of a repository or none)"
    );
    Source {
        error: Some(why),
        tolerated: true,
        ..source
    }
}

/// The directories of a cache that belong to repositories, by id: dnf appends a dash and sixteen
/// digits to the id, zypper nothing.
pub fn cached(cache: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(entries) = fs::read_dir(cache) else {
        return BTreeMap::new();
    };
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?;
        let id = match name.rsplit_once('-') {
            Some((id, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                id
            }
            _ => name,
        };
        Some((id.to_owned(), path))
    };
    let mut found: Vec<(String, PathBuf)> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .filter_map(named)
        .collect();
    // of two with the same id, the one that was written last is in use
    let changed = |path: &Path| {
        let repomd = fs::metadata(path.join("repodata/repomd.xml"));
        repomd.and_then(|m| m.modified()).ok()
    };
    sorted::sort_by_key(&mut found, |(_, path)| changed(path));
    found.into_iter().in_order()
}

/// Files with these names in and below the directories, by name.
pub fn files<'a>(
    directories: impl IntoIterator<Item = &'a PathBuf>,
    wanted: &[String],
) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut left: Vec<(PathBuf, u32)> = directories
        .into_iter()
        .map(|directory| (directory.clone(), 3))
        .collect();
    while let Some((directory, depth)) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && depth > 0 {
                left.push((entry.path(), depth - 1));
            } else if kind.is_file()
                && let Ok(name) = entry.file_name().into_string()
                && wanted.contains(&name)
            {
                found.insert(name, entry.path());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        assert_eq!(
            without_credentials("404 for http://u:p@x.org/a - https://u:p@y.org b@c"),
            "404 for http://x.org/a - https://y.org b@c"
        );
    }

    #[test]
    fn what_no_update_depends_on_is_told_by_its_name() {
        for extra in [
            "repodata/047e-updateinfo.xml.gz",
            "x-filelists.xml.zst",
            "other.xml",
            "1-comps-BaseOS.xml",
        ] {
            assert!(is_extra(extra), "{extra}");
        }
        for file in [
            "repodata/5eae-primary.xml.gz",
            "repomd.xml",
            "x-modules.yaml.gz",
            "another-thing",
        ] {
            assert!(!is_extra(file), "{file}");
        }
    }

    #[test]
    fn repositories_are_read() {
        let text = "# c\n[lab]\nname=Lab repository\nbaseurl=http://u:p@127.0.0.1:8080/repo/\n  http://other/\ngpgcheck=0\nskip_if_unavailable = True\n\n[off]\nenabled = 0\nmetalink=https://mirrors.example.org/metalink?repo=x&arch=$basearch\n";
        let read = parse(text);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].name, "Lab repository");
        assert_eq!(read[0].uri, "http://127.0.0.1:8080/repo/");
        assert!(read[0].enabled && !read[1].enabled);
        assert!(read[0].may_fail && !read[1].may_fail);
        assert!(
            read[1]
                .uri
                .starts_with("https://mirrors.example.org/metalink")
        );
    }

    /// Written by `createrepo_c` 1.2 and `modifyrepo_c`.
    const REPOMD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>1795239332</revision>
  <data type="primary">
    <location href="repodata/e81e-primary.xml.zst"/>
    <timestamp>1795239332</timestamp>
  </data>
  <data type="updateinfo">
    <timestamp>1795239739</timestamp>
  </data>
</repomd>"#;

    #[test]
    fn an_index_tells_its_date_and_whether_it_has_advisories() {
        let found = index(REPOMD).unwrap();
        assert_eq!(found.date.unwrap().timestamp(), 1_795_239_739);
        assert!(found.advisories);
        assert_eq!(index("<html>login</html>"), None);
        assert_eq!(index(""), None);
        assert!(
            !index(&REPOMD.replace("updateinfo", "other"))
                .unwrap()
                .advisories
        );
    }

    #[test]
    fn directories_of_a_cache_are_told_apart() {
        let cache = tempfile::tempdir().unwrap();
        for name in [
            "lab-e195df75fdc326f2",
            "fedora-updates-0123456789abcdef",
            "plain",
        ] {
            fs::create_dir(cache.path().join(name)).unwrap();
        }
        let ids: Vec<String> = cached(cache.path()).into_keys().collect();
        assert_eq!(ids, ["fedora-updates", "lab", "plain"]);
        let packages = cache.path().join("plain/x86_64");
        fs::create_dir(&packages).unwrap();
        fs::write(packages.join("demo-1.rpm"), "").unwrap();
        let wanted = ["demo-1.rpm".to_owned(), "demo-2.rpm".to_owned()];
        let found = files(&[cache.path().to_owned()], &wanted);
        assert_eq!(found.len(), 1);
        assert_eq!(found["demo-1.rpm"], packages.join("demo-1.rpm"));
    }
}
