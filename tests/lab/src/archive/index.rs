//! The text of an apt repository's index: what a Packages file and a Release file say. No files are touched here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use crate::{cache, machine};

/// What a repository says about itself, mostly in its Release file.
#[derive(Clone, Debug)]
pub struct ReleaseOptions {
    /// `Origin:`
    pub origin: String,
    /// `Label:`
    pub label: String,
    /// `Suite:`
    pub suite: String,
    /// `Codename:`
    pub codename: String,
    /// `Date:`, the revision of an rpm repository; the moment of indexing unless it is said.
    pub date: Option<SystemTime>,
    /// `Valid-Until:`
    pub valid_until: Option<SystemTime>,
    /// `Phased-Update-Percentage:` by package name.
    pub phased: BTreeMap<String, u8>,
    /// Whether each index of packages stays under a name of its own, so that the former one can still be
    /// fetched while a new one is published: `Acquire-By-Hash:`
    pub by_hash: bool,
    /// What an apt repository says its packages contain, in a file that its index names: `Contents-amd64`.
    pub contents: Option<String>,
    /// What an rpm repository says in an advisory of each of its packages; without any it carries no `updateinfo`.
    pub advisory: Option<Advisory>,
    /// The same of single packages, by name, or of one version, by name, `=` and version.
    pub advisories: BTreeMap<String, Advisory>,
}

/// Why there is an update, as the advisories of an rpm repository put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advisory {
    /// A security hole is closed.
    Security,
    /// The same, and its patch asks for this (zypper).
    SecurityThatAsksFor(Asks),
    /// Something else is put right.
    Bugfix,
}

/// What a patch may ask of the administrator, or of zypper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// To read a message.
    Reading,
    /// To reboot.
    Reboot,
    /// To install it before all others, and to start zypper again.
    Restart,
}

impl Advisory {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Security | Self::SecurityThatAsksFor(_) => "security",
            Self::Bugfix => "bugfix",
        }
    }

    pub(crate) fn severity(self) -> &'static str {
        match self {
            Self::Security | Self::SecurityThatAsksFor(_) => "Important",
            Self::Bugfix => "None",
        }
    }

    /// What stands in the advisory for what it asks for, and what beside its package.
    pub(crate) fn asks(self) -> (&'static str, &'static str) {
        let asks = match self {
            Self::SecurityThatAsksFor(asks) => asks,
            Self::Security | Self::Bugfix => return ("", ""),
        };
        match asks {
            Asks::Reading => ("<message>Read this first</message>", ""),
            Asks::Reboot => ("", "<reboot_suggested>True</reboot_suggested>"),
            Asks::Restart => ("", "<restart_suggested>True</restart_suggested>"),
        }
    }
}

impl Default for ReleaseOptions {
    fn default() -> Self {
        Self {
            origin: "Lab".to_owned(),
            label: "Lab".to_owned(),
            suite: "stable".to_owned(),
            codename: "lab".to_owned(),
            date: None,
            valid_until: None,
            phased: BTreeMap::new(),
            by_hash: false,
            contents: None,
            advisory: None,
            advisories: BTreeMap::new(),
        }
    }
}

impl ReleaseOptions {
    /// What Debian's security archive says of itself; in an rpm repository each package has such an advisory.
    pub fn security() -> Self {
        Self {
            origin: "Debian".to_owned(),
            label: "Debian-Security".to_owned(),
            suite: "stable-security".to_owned(),
            codename: "lab-security".to_owned(),
            advisory: Some(Advisory::Security),
            ..Self::default()
        }
    }
}

/// One file of the pool.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The control file of the package.
    pub(crate) control: String,
    /// Its path below the repository's address.
    pub(crate) filename: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// The text of a Packages file.
pub(crate) fn packages(entries: &[Entry], options: &ReleaseOptions) -> String {
    let mut text = String::new();
    for entry in entries {
        let control = entry.control.trim_end();
        let _ = writeln!(
            text,
            "{control}\nFilename: {}\nSize: {}",
            entry.filename, entry.size
        );
        let _ = writeln!(text, "SHA256: {}", entry.sha256);
        let name = control
            .lines()
            .find_map(|line| line.strip_prefix("Package: "));
        if let Some(percentage) = name.and_then(|name| options.phased.get(name)) {
            let _ = writeln!(text, "Phased-Update-Percentage: {percentage}");
        }
        text.push('\n');
    }
    text
}

/// The text of a Release file for indexes given by path and content.
pub(crate) fn release(options: &ReleaseOptions, indexes: &[(&str, &str)]) -> String {
    let ReleaseOptions {
        origin,
        label,
        suite,
        codename,
        ..
    } = options;
    let mut text =
        format!("Origin: {origin}\nLabel: {label}\nSuite: {suite}\nCodename: {codename}\n");
    let _ = writeln!(
        text,
        "Date: {}",
        date(options.date.unwrap_or_else(SystemTime::now))
    );
    if options.by_hash {
        text += "Acquire-By-Hash: yes\n";
    }
    if let Some(until) = options.valid_until {
        let _ = writeln!(text, "Valid-Until: {}", date(until));
    }
    let _ = writeln!(
        text,
        "Architectures: {} all\nComponents: main\nSHA256:",
        machine::architecture()
    );
    for (path, content) in indexes {
        let _ = writeln!(
            text,
            " {} {} {path}",
            cache::sha256(content.as_bytes()),
            content.len()
        );
    }
    text
}

fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time).replace("GMT", "UTC")
}
