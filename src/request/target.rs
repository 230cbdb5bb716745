//! What an update covers: named packages, everything, or security updates.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::package::{PackageName, shown};
use crate::PACKAGE;
use crate::sorted;

/// The most packages one request may name.
pub const MAX_PACKAGES: usize = 1000;

/// What an update covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Target {
    /// All pending updates.
    All,
    /// The pending updates from security sources.
    Security,
    /// These packages and what their new versions need.
    Packages(Vec<PackageName>),
}

impl Target {
    /// The target that a list of names means: `all` and `security` are reserved and stand alone.
    pub fn from_names<T: AsRef<str>>(names: &[T]) -> Result<Self> {
        match names {
            [] => bail!("no package is named; name installed packages, or 'all', or 'security'"),
            [only] if only.as_ref() == "all" => Ok(Self::All),
            [only] if only.as_ref() == "security" => Ok(Self::Security),
            _ => Self::from_package_names(names),
        }
    }

    /// The target that the instance of `patch-apply@INSTANCE.service` means. systemd passes `%i`
    /// escaped: everything but ASCII letters, digits, `:_.\@-` comes as `\xNN` (systemd.unit(5)).
    /// Only what stands for a character of a package name is decoded; the rest is refused.
    pub fn from_instance(instance: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(instance)
            .map_err(|_| anyhow::anyhow!("the instance name {} is not UTF-8", lossy(instance)))?;
        ensure!(
            !text.is_empty(),
            "the instance name is empty; use patch-apply@PACKAGE.service"
        );
        let name = unescape(text).with_context(|| format!("the instance name {}", shown(text)))?;
        Self::from_names(&[name])
    }

    fn from_package_names<T: AsRef<str>>(names: &[T]) -> Result<Self> {
        ensure!(
            names.len() <= MAX_PACKAGES,
            "more than {MAX_PACKAGES} packages are named"
        );
        let mut packages = names
            .iter()
            .map(|name| match name.as_ref() {
                reserved @ ("all" | "security") => {
                    bail!("'{reserved}' cannot be combined with package names")
                }
                name => name.parse(),
            })
            .collect::<Result<Vec<PackageName>>>()?;
        sorted::sort(&mut packages);
        packages.dedup();
        Ok(Self::Packages(packages))
    }

    /// Whether it covers the package in this architecture; `security` says whether its update is for security.
    #[must_use]
    pub fn covers(&self, package: &str, architecture: &str, security: bool) -> bool {
        match self {
            Self::All => true,
            Self::Security => security,
            Self::Packages(names) => {
                let mut names = names.iter();
                names.any(|name| name.is_for(package, architecture))
            }
        }
    }

    /// Whether this is the package of this program alone.
    #[must_use]
    pub fn is_own_package(&self) -> bool {
        let own = |name: &PackageName| name.as_str().split(':').next() == Some(PACKAGE);
        matches!(self, Self::Packages(names) if names.iter().all(own))
    }

    /// The names from which [`Target::from_names`] makes this target.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::All => vec!["all".to_owned()],
            Self::Security => vec!["security".to_owned()],
            Self::Packages(packages) => packages.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<Vec<String>> for Target {
    type Error = anyhow::Error;

    fn try_from(names: Vec<String>) -> Result<Self> {
        Self::from_names(&names)
    }
}

impl From<Target> for Vec<String> {
    fn from(target: Target) -> Self {
        target.names()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(" "))
    }
}

fn lossy(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes))
}

/// Decodes systemd's `\xNN`; any other backslash is an error.
fn unescape(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let [b'x', high, low, tail @ ..] = tail else {
            bail!("has a backslash that is not part of \\xNN");
        };
        let digit = |c: u8| {
            char::from(c)
                .to_digit(16)
                .context("has a \\x without two hex digits")
        };
        let byte = u8::try_from(digit(*high)? * 16 + digit(*low)?)?;
        ensure!(
            byte.is_ascii_graphic(),
            "has an escaped character that no package name has (0x{byte:02x})",
        );
        bytes.push(byte);
        rest = tail;
    }
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_names_the_same_package_escaped_or_not() {
        let target = |text: &str| Target::from_instance(text.as_bytes()).unwrap().names();
        assert_eq!(target("g++"), ["g++"]);
        assert_eq!(target(r"g\x2b\x2b"), ["g++"]);
        assert_eq!(
            target("linux-image-amd64"),
            target(r"linux\x2dimage\x2damd64")
        );
        assert_eq!(Target::from_instance(b"all").unwrap(), Target::All);
        assert_eq!(
            Target::from_instance(b"security").unwrap(),
            Target::Security
        );
    }

    #[test]
    fn bad_instances_are_refused() {
        let bad: &[&[u8]] = &[
            b"",
            br"\x2d\x2dhelp",
            br"x\x00y",
            br"a\x20b",
            br"a\x0ab",
            br"\xc3\xa4",
            b"${PATH}",
            b"..-..-etc-passwd",
            br"a\x2",
            br"a\n",
            br"a\",
            b"\xff\xfe",
            b"-x",
            b"foo-",
            br"foo\x2d",
            br"foo\x3d1.0",
            br"..\x2fx",
        ];
        for instance in bad {
            let error = Target::from_instance(instance).expect_err("it was taken");
            let message = format!("{error:#}");
            assert!(
                !message.contains('\n') && !message.contains('\0'),
                "{message:?}"
            );
        }
    }

    #[test]
    fn reserved_names_stand_alone() {
        assert!(Target::from_names(&["all", "nginx"]).is_err());
        assert!(Target::from_names::<&str>(&[]).is_err());
        assert_eq!(
            Target::from_names(&["b", "a", "b"]).unwrap().names(),
            ["a", "b"]
        );
    }
}
