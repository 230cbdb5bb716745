//! Files of installed packages that differ from their package files.

use super::PackageId;

/// An installed package of which files are missing or differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// The package.
    pub key: PackageId,
    /// Its version.
    pub version: String,
    /// Files that are missing, or that the package manager no longer lists for the package: removing another package
    /// would remove them.
    pub missing: Vec<String>,
    /// Files with other contents. Changes by the scripts of the package count, too.
    pub differing: Vec<String>,
    /// Why its files could not be compared.
    pub unknown: Option<String>,
}

impl Damaged {
    /// A package without any difference so far.
    pub(super) fn none(key: PackageId, version: &str) -> Self {
        Self {
            key,
            version: version.to_owned(),
            missing: Vec::new(),
            differing: Vec::new(),
            unknown: None,
        }
    }

    /// Itself, if something differs.
    pub(super) fn if_any(self) -> Option<Self> {
        let none = self.missing.is_empty() && self.differing.is_empty() && self.unknown.is_none();
        (!none).then_some(self)
    }
}

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileDifference<'a> {
    /// It is not there.
    Missing(&'a str),
    /// It has other contents.
    Differs(&'a str),
}

/// Reads a line of `rpm --verify` or `dpkg --verify`, which has the same form: `missing` or nine characters for what
/// was compared, a letter for the kind of file, the path (rpm(8), "VERIFY OPTIONS"). None for configuration files,
/// which belong to the administrator, for ghosts, which no package contains, and for other lines.
pub(super) fn verified(line: &str) -> Option<FileDifference<'_>> {
    let (head, path) = line.split_at(line.find('/')?);
    let mut words = head.split_whitespace();
    let (result, kind) = (words.next()?, words.next());
    if words.next().is_some() || matches!(kind, Some("c" | "g")) {
        return None;
    }
    match result {
        "missing" => Some(FileDifference::Missing(path)),
        // size, digest, target of a link
        signs if signs.len() == 9 && signs.contains(['S', '5', 'L']) => {
            Some(FileDifference::Differs(path))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_tools_are_read() {
        // rpm 4.20 and 6.1, dpkg 1.22
        assert_eq!(
            verified("S.5....T.    /usr/share/a b"),
            Some(FileDifference::Differs("/usr/share/a b"))
        );
        assert_eq!(verified("??5?????? c /etc/a.conf"), None);
        assert_eq!(
            verified("??5??????   /usr/bin/a"),
            Some(FileDifference::Differs("/usr/bin/a"))
        );
        assert_eq!(
            verified("missing     /usr/share/a"),
            Some(FileDifference::Missing("/usr/share/a"))
        );
        assert_eq!(
            verified("missing   d /usr/share/a"),
            Some(FileDifference::Missing("/usr/share/a"))
        );
        for other in [
            "missing   c /etc/a",
            ".M.......    /usr/share/a",
            ".......T.  g /run/a",
            "package a is not installed",
            "Unsatisfied dependencies for a/b",
            "",
        ] {
            assert_eq!(verified(other), None, "{other}");
        }
    }
}
