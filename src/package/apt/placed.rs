//! Where dpkg puts a file of a package on this host: where the package has it, elsewhere, or nowhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::glob;
use crate::sorted;

/// dpkg's own configuration (dpkg.cfg(5)); what comes later counts more.
const FRAGMENTS: &str = "/etc/dpkg/dpkg.cfg.d";
const FILES: [&str; 2] = ["/etc/dpkg/dpkg.cfg", "/root/.dpkg.cfg"];

/// Where dpkg remembers which files it puts elsewhere (dpkg-divert(1)).
const DIVERSIONS: &str = "diversions";

/// The configuration of this host about where files go.
#[derive(Debug, Default)]
pub struct Placing {
    /// Each pattern of paths, with whether such files are left out.
    filters: Vec<(bool, Vec<char>)>,
    diversions: Vec<Diversion>,
}

#[derive(Debug, PartialEq, Eq)]
struct Diversion {
    from: String,
    to: String,
    /// The one package whose file stays; a colon for none.
    by: String,
}

impl Placing {
    /// What is configured now, with dpkg's database in `dpkg`.
    pub fn read(dpkg: &Path) -> Self {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let texts = fragments().into_iter().chain(FILES.map(PathBuf::from));
        Self {
            filters: texts.flat_map(|path| filters(&read(&path))).collect(),
            diversions: diversions(&read(&dpkg.join(DIVERSIONS))),
        }
    }

    /// Where `path` of `package` is; nowhere when the configuration leaves it out (dpkg(1),
    /// `--path-exclude`).
    pub fn of<'a>(&'a self, path: &'a str, package: &str) -> Option<&'a str> {
        let text: Vec<char> = path.chars().collect();
        let mut matching = self.filters.iter().rev();
        let last = matching.find(|(_, pattern)| matches(pattern, &text));
        if last.is_some_and(|(left_out, _)| *left_out) {
            return None;
        }
        let mut diversions = self.diversions.iter();
        let diversion = diversions.find(|d| d.from == path && d.by != package);
        Some(diversion.map_or(path, |diversion| &diversion.to))
    }
}

/// The files of the fragment directory that dpkg reads, in its order.
fn fragments() -> Vec<PathBuf> {
    let is_read = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !name.is_empty() && name.iter().all(plain)
    };
    let entries = fs::read_dir(FRAGMENTS).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_read).collect();
    sorted::sort(&mut paths);
    paths
}

/// `path-exclude=PATTERN` and `path-include=PATTERN`, also with a blank in place of the sign, and quoted.
fn filters(text: &str) -> Vec<(bool, Vec<char>)> {
    let filter = |line: &str| {
        let (option, value) = line.trim().split_once(['=', ' ', '\t'])?;
        let left_out = match option {
            "path-exclude" => true,
            "path-include" => false,
            _ => return None,
        };
        let value = value.trim_start_matches(['=', ' ', '\t']);
        Some((left_out, value.trim_matches(['"', '\'']).chars().collect()))
    };
    text.lines().filter_map(filter).collect()
}

/// Three lines for each: from, to, by which package.
fn diversions(text: &str) -> Vec<Diversion> {
    let lines: Vec<&str> = text.lines().collect();
    let diversion = |lines: &[&str]| match lines {
        [from, to, by] => Some(Diversion {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            by: (*by).to_owned(),
        }),
        _ => None,
    };
    lines.chunks(3).filter_map(diversion).collect()
}

/// Whether a shell pattern matches, as dpkg asks fnmatch(3): a `*` also matches a slash.
fn matches(pattern: &[char], text: &[char]) -> bool {
    glob::matches_by(pattern, text, one)
}

/// How many characters of the pattern stand for this one of the text: 0 for a star, none when it is another character.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['*', ..] => Some(0),
        ['?', ..] => Some(1),
        ['[', rest @ ..] => match bracket(rest, c) {
            Some((true, length)) => Some(length + 1),
            Some((false, _)) => None,
            None => (c == '[').then_some(1),
        },
        ['\\', escaped, ..] => (*escaped == c).then_some(2),
        [plain, ..] => (*plain == c).then_some(1),
        [] => None,
    }
}

/// Whether the character is among those in brackets, and where these end; nothing when they do not.
fn bracket(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // the first one may be a closing bracket itself
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let mut set = pattern.get(start..end)?;
    let mut found = false;
    while let [first, rest @ ..] = set {
        (found, set) = match rest {
            ['-', last, rest @ ..] => (found || (*first..=*last).contains(&c), rest),
            _ => (found || *first == c, rest),
        };
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        matches(&chars(pattern), &chars(text))
    }

    #[test]
    fn patterns_match_as_for_dpkg() {
        for (pattern, text) in [
            ("/usr/share/doc/*", "/usr/share/doc/a/b"),
            (
                "/usr/share/locale/*/LC_MESSAGES/*.mo",
                "/usr/share/locale/de/LC_MESSAGES/x.mo",
            ),
            ("/a/[!e-g]*", "/a/de"),
            ("/a/[]x]", "/a/]"),
            ("/a/\\*?", "/a/*b"),
            ("/a[", "/a["),
            ("*", ""),
        ] {
            assert!(is_match(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("/usr/share/doc/*", "/usr/share/do"),
            ("/a/[!e-g]*", "/a/en"),
            ("/a/[ab]", "/a/c"),
            ("/a/\\*", "/a/b"),
            ("/a", "/a/b"),
            ("", "a"),
        ] {
            assert!(!is_match(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_left_out_or_diverted_is_not_where_the_package_has_it() {
        let config = "# as in container images\npath-exclude=/usr/share/doc/*\n\
            path-include /usr/share/doc/*/copyright\nforce-unsafe-io\n";
        let diverted = "/bin/a\n/bin/a.real\nother\n/bin/b\n/bin/b.local\n:\n/torn\n";
        let placing = Placing {
            filters: filters(config),
            diversions: diversions(diverted),
        };
        assert_eq!(placing.of("/usr/share/doc/a/README", "a"), None);
        let copyright = "/usr/share/doc/a/copyright";
        assert_eq!(placing.of(copyright, "a"), Some(copyright));
        assert_eq!(placing.of("/bin/a", "a"), Some("/bin/a.real"));
        assert_eq!(placing.of("/bin/a", "other"), Some("/bin/a"));
        assert_eq!(placing.of("/bin/b", "a"), Some("/bin/b.local"));
        assert_eq!(placing.of("/torn", "a"), Some("/torn"));
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_is_survived(pattern in "[a-c*?\\[\\]!\\\\-]{0,12}", text in "[a-c/]{0,12}") {
            let _ = is_match(&pattern, &text);
        }
    }
}
