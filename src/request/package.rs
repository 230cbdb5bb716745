//! The name of a package, parsed strictly by every front end.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// The name of a package, in the form every supported package manager accepts as a plain name.
///
/// It says nothing about whether the package is installed; the worker compares it, byte for byte,
/// with the installed names before any package manager sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageName(String);

impl PackageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names the package in this architecture; a name without an architecture is for all of them.
    #[must_use]
    pub fn is_for(&self, package: &str, architecture: &str) -> bool {
        match self.0.split_once(':') {
            Some((name, only)) => name == package && only == architecture,
            None => self.0 == package,
        }
    }
}

impl FromStr for PackageName {
    type Err = anyhow::Error;

    /// Debian policy 5.6.1 asks for lower case, digits, `+`, `-` and `.`; RPM and Alpine names also
    /// have capitals and `_`. An architecture (`:amd64`) may follow. A trailing `-` would make apt
    /// *remove* the package, so nothing may end in it (FACTS 7).
    fn from_str(text: &str) -> Result<Self> {
        let shown = shown(text);
        ensure!(!text.is_empty(), "the package name is empty");
        ensure!(
            text.len() <= 128,
            "the package name {shown} is longer than 128 characters"
        );
        let (name, architecture) = match text.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (text, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
        ensure!(
            name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(plain)
                && !name.ends_with('-'),
            "{shown} is not a package name; give the exact name of an installed package",
        );
        if let Some(architecture) = architecture {
            ensure!(
                !architecture.is_empty()
                    && !architecture.ends_with('-')
                    && architecture
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)),
                "{shown} does not end in an architecture",
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for PackageName {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<PackageName> for String {
    fn from(name: PackageName) -> Self {
        name.0
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hostile text for a message: quoted, without control characters, cut after 80 characters.
#[must_use]
pub fn shown(text: &str) -> String {
    let cut: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    let more = if text.chars().nth(80).is_some() {
        "…"
    } else {
        ""
    };
    format!("'{cut}{more}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        for name in [
            "nginx",
            "g++",
            "libssl3t64:amd64",
            "linux-image-amd64",
            "0ad",
            "Xorg_x.1",
        ] {
            assert_eq!(name.parse::<PackageName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_a_package_manager_would_read_as_more_than_a_name_is_refused() {
        let long = "a".repeat(300);
        for name in [
            "",
            "hello-x-",
            "hell.*",
            "*",
            "?installed",
            "~i",
            "-oDPkg::Pre-Invoke::=id",
            "--purge",
            "/var/tmp/evil.deb",
            "./x",
            "../x",
            "http://127.0.0.1/x.rpm",
            "hello-x=0.1",
            "hello-x/experimental",
            "!hello-x",
            "-hello-x",
            "~hello-x",
            "@core",
            "hello-x>1",
            "foo*",
            "a b",
            "a\nb",
            "a\0b",
            "ä",
            "foo:",
            ":amd64",
            "foo:a:b",
            "foo:amd64-",
            &long,
        ] {
            assert!(name.parse::<PackageName>().is_err(), "{name:?} was taken");
        }
    }
}
