//! Which versions apt knows above the installed ones, as `apt-cache policy` shows them: which are for security,
//! which are phased, and which one apt would choose.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use anyhow::Result;

use super::arguments;
use super::simulate::is_security_suite;
use crate::package::{Database, PackageId};
use crate::sorted::InOrder;

/// What apt knows of installed packages, by the name it gives them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KnownVersions(BTreeMap<String, KnownVersion>);

/// What apt knows of one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KnownVersion {
    /// The version that is installed.
    pub installed: String,
    /// The version that apt would choose: by the newest date, unless a pin prefers another one.
    pub candidate: String,
    /// The versions above the installed one, newest first.
    pub newer: Vec<NewerVersion>,
}

/// A version above the installed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerVersion {
    pub version: String,
    /// Whether a security source has it.
    pub security: bool,
    /// Whether it is handed out to a part of all hosts only.
    pub phased: bool,
}

impl KnownVersion {
    /// Where the candidate stands among the newer versions; none when it is not newer.
    fn place(&self, version: &str) -> Option<usize> {
        self.newer.iter().position(|newer| newer.version == version)
    }

    /// Whether apt would choose a version below the installed one: a pin of 1000 or more does that.
    pub fn would_go_back(&self) -> bool {
        self.candidate != self.installed && self.place(&self.candidate).is_none()
    }

    /// Whether apt would choose a newer version.
    pub fn would_go_on(&self) -> bool {
        self.place(&self.candidate).is_some()
    }

    /// The newest version that is for security.
    pub fn security(&self) -> Option<&NewerVersion> {
        self.newer.iter().find(|newer| newer.security)
    }

    /// Whether `version` closes what a security update closes: it is one, or newer than one.
    pub fn is_security(&self, version: &str) -> bool {
        let place = self.place(version);
        place.is_some_and(|place| self.newer[place..].iter().any(|newer| newer.security))
    }

    /// The newest security update below `version`, which may be had where that cannot.
    pub fn security_below(&self, version: &str) -> Option<&NewerVersion> {
        let below = self.newer.get(self.place(version)? + 1..)?;
        below.iter().find(|newer| newer.security)
    }

    /// A security update that apt does not choose, and does not choose a newer version instead.
    pub fn passed_over(&self) -> Option<&NewerVersion> {
        let security = self.security()?;
        let covered = self.is_security(&self.candidate)
            && self.place(&self.candidate) <= self.place(&security.version);
        (!covered).then_some(security)
    }

    /// Whether the version is phased.
    pub fn is_phased(&self, version: &str) -> bool {
        let mut newer = self.newer.iter();
        newer.any(|newer| newer.version == version && newer.phased)
    }
}

impl KnownVersions {
    /// Asks apt about packages, by the indexes that `lists` names.
    pub fn ask(names: &[String], lists: &[OsString]) -> Result<Self> {
        if names.is_empty() {
            return Ok(Self::default());
        }
        let targets = arguments::index_origins(lists).output_checked()?;
        let shown = arguments::policy(names, lists).output_checked()?;
        Ok(Self(parse(&shown, &security_sources(&targets))))
    }

    /// What is known of a package, by the name that apt gives it.
    pub fn of(&self, name: &str) -> Option<&KnownVersion> {
        self.0.get(name)
    }

    /// All of them, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &KnownVersion)> {
        self.0.iter().map(|(name, known)| (name.as_str(), known))
    }
}

/// The name that apt gives a package: with its architecture only where that is a foreign one.
pub fn name(key: &PackageId, native: &str) -> String {
    if key.architecture == native || key.architecture == "all" {
        key.package.clone()
    } else {
        key.to_string()
    }
}

/// The native architecture: that of dpkg itself.
pub fn native(database: &Database) -> String {
    let dpkg = database.keys().find(|key| key.package == "dpkg");
    dpkg.map_or_else(String::new, |key| key.architecture.clone())
}

/// The descriptions of the security sources, from lines of description, label, suite, codename and release.
fn security_sources(targets: &str) -> BTreeSet<String> {
    let description = |line: &str| {
        let mut fields = line.split('\t');
        let (description, label) = (fields.next()?, fields.next()?);
        (label == "Debian-Security" || fields.any(is_security_suite))
            .then(|| description.to_owned())
    };
    targets.lines().filter_map(description).in_order()
}

/// Parses the blocks of `apt-cache policy NAME…`, whose form is the same in apt 2.6, 3.0 and 3.3:
/// ```text
/// demo:
///   Installed: 1.0
///   Candidate: 1.2
///   Version table:
///      1.2 500 (phased 10%)
///         500 http://archive.example.org/debian stable-updates/main amd64 Packages
///  *** 1.0 100
///         100 /var/lib/dpkg/status
/// ```
pub fn parse(shown: &str, security: &BTreeSet<String>) -> BTreeMap<String, KnownVersion> {
    let mut known: BTreeMap<String, KnownVersion> = BTreeMap::new();
    let (mut name, mut above) = (String::new(), false);
    for line in shown.lines() {
        if !line.starts_with(' ') {
            line.trim_end_matches(':').clone_into(&mut name);
            above = true;
            continue;
        }
        let package = known.entry(name.clone()).or_default();
        if let Some(version) = line.strip_prefix("  Installed: ") {
            version.clone_into(&mut package.installed);
        } else if let Some(version) = line.strip_prefix("  Candidate: ") {
            version.clone_into(&mut package.candidate);
        } else if line.starts_with(" *** ") {
            above = false;
        } else if let Some(rest) = line.strip_prefix("     ").filter(|_| above) {
            table_line(package, rest, security);
        }
    }
    // what is not installed has no version above it
    known.retain(|_, package| !matches!(package.installed.as_str(), "" | "(none)"));
    known
}

/// A version with its priority, or, further to the right, a priority and a source that has the version.
fn table_line(package: &mut KnownVersion, line: &str, security: &BTreeSet<String>) {
    match (line.strip_prefix(' '), package.newer.last_mut()) {
        (None, _) => {
            let version = line.split(' ').next().unwrap_or(line);
            package.newer.push(NewerVersion {
                version: version.to_owned(),
                security: false,
                phased: line.contains("(phased "),
            });
        }
        (Some(source), Some(newer)) => {
            let source = source.trim_start().split_once(' ');
            newer.security |= source.is_some_and(|(_, description)| security.contains(description));
        }
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
http://a/debian stable/main amd64 Packages\tDebian\tstable\ttrixie\tstable\n\
http://a/security stable-security/main amd64 Packages\tDebian-Security\tstable-security\ttrixie-security\tstable-security\n\
http://b/ site-security/main amd64 Packages\tAptly\tsite-security\tsite\tsite-security\n";

    const SHOWN: &str = "\
demo:
  Installed: 1.0
  Candidate: 1.2
  Version table:
     1.2 500 (phased 10%)
        500 http://a/debian stable/main amd64 Packages
     1.1 500
        500 http://a/security stable-security/main amd64 Packages
 *** 1.0 100
        100 /var/lib/dpkg/status
     0.9 1001
        500 http://b/ site-security/main amd64 Packages
zlib1g:i386:
  Installed: 1
  Candidate: 1
  Version table:
     2 -1
         -1 http://b/ site-security/main amd64 Packages
 *** 1 100
        100 /var/lib/dpkg/status
back:
  Installed: 2
  Candidate: 1
  Package pin: 1
  Version table:
 *** 2 100
        100 /var/lib/dpkg/status
     1 1001
       1001 http://a/debian stable/main amd64 Packages
gone:
  Installed: (none)
  Candidate: 1
  Version table:
     1 500
        500 http://a/debian stable/main amd64 Packages
";

    fn versions() -> KnownVersions {
        KnownVersions(parse(SHOWN, &security_sources(TARGETS)))
    }

    #[test]
    fn a_newer_version_closes_what_the_security_update_closes() {
        let versions = versions();
        let demo = versions.of("demo").unwrap();
        assert!(demo.is_security("1.2") && demo.is_security("1.1"));
        assert!(!demo.is_security("1.0"));
        assert_eq!(demo.security_below("1.2").unwrap().version, "1.1");
        assert_eq!(demo.security_below("1.1"), None);
        assert!(demo.is_phased("1.2") && !demo.is_phased("1.1"));
        assert_eq!(demo.passed_over(), None);
        assert!(!demo.would_go_back());
    }

    #[test]
    fn what_a_pin_keeps_away_is_seen() {
        let versions = versions();
        let foreign = versions.of("zlib1g:i386").unwrap();
        assert_eq!(foreign.passed_over().unwrap().version, "2");
        assert!(!foreign.would_go_back());
        assert!(versions.of("back").unwrap().would_go_back());
        assert_eq!(versions.of("gone"), None);
        assert_eq!(versions.iter().count(), 3);
    }

    #[test]
    fn foreign_packages_are_named_with_their_architecture() {
        let key = |package: &str, architecture: &str| PackageId::new(package, architecture);
        assert_eq!(name(&key("a", "all"), "amd64"), "a");
        assert_eq!(name(&key("a", "amd64"), "amd64"), "a");
        assert_eq!(name(&key("a", "i386"), "amd64"), "a:i386");
    }

    proptest::proptest! {
        #[test]
        fn any_output_is_survived(text in "([ ]{0,9}|a:|\\*\\*\\* |1 500|Candidate: |\n){0,20}") {
            let _ = parse(&text, &BTreeSet::new());
        }
    }
}
