//! A request: what may be asked for, parsed once and strictly at every door.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The most bytes a queue entry may have.
pub const MAX_ENTRY_BYTES: u64 = 64 * 1024;

/// The most packages one request may name.
pub const MAX_PACKAGES: usize = 1000;

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
}

impl FromStr for PackageName {
    type Err = anyhow::Error;

    /// Debian policy 5.6.1 asks for lower case, digits, `+`, `-` and `.`; RPM and Alpine names also
    /// have capitals and `_`. An architecture (`:amd64`) may follow. A trailing `-` would make apt
    /// *remove* the package, so no name may end in it (measured: `install --only-upgrade foo-`).
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

/// Hostile text for a message: quoted, without control characters, cut at 80.
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

/// What an update is to cover.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Target {
    /// Everything that is pending.
    All,
    /// What is pending and comes from a security source.
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
        packages.sort();
        packages.dedup();
        Ok(Self::Packages(packages))
    }

    /// The names that [`Target::from_names`] makes this target of.
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

/// The identity of a request and of the job it becomes: 16 hex digits of Unix nanoseconds, `-`, 6
/// random hex digits. The names sort in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// A new id, of now.
    pub fn new() -> Result<Self> {
        let mut random = [0; 3];
        rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
            .context("failed to get random bytes")?;
        let [a, b, c] = random;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        // a clock before 1970 is wrong in any case; 0 keeps the queue working
        let nanoseconds = now.unwrap_or_default().as_nanos();
        Ok(Self(format!(
            "{:016x}-{a:02x}{b:02x}{c:02x}",
            nanoseconds & u128::from(u64::MAX)
        )))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = |part: &str| part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let good = text.split_once('-').is_some_and(|(time, random)| {
            time.len() == 16 && random.len() == 6 && hex(time) && hex(random)
        });
        ensure!(
            good,
            "{} is not a job id (16 hex digits, '-', 6 hex digits); 'patchctl jobs' lists them",
            shown(text),
        );
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for JobId {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a request asks the worker to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Refresh the package index.
    Refresh,
    /// Refresh, then apply updates.
    Apply,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refresh => "refresh",
            Self::Apply => "apply",
        })
    }
}

/// Who asked, and at which door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requester {
    /// `systemd`, `dbus`, `direct`, `timer`; `file` for an entry written by hand.
    pub door: String,
    /// The user who asked, where the door knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

impl Requester {
    /// A requester at `door`.
    #[must_use]
    pub fn at(door: &str, uid: Option<u32>) -> Self {
        Self {
            door: door.to_owned(),
            uid,
        }
    }
}

/// One request, as it lies in the queue. An unknown key is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The version of this format.
    pub version: Version,
    /// Equal to the name of the file.
    pub id: JobId,
    /// What to do.
    pub kind: Kind,
    /// What an `apply` covers; not there for a `refresh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Target>,
    /// Who asked.
    #[serde(default = "by_file")]
    pub requester: Requester,
}

/// The one version of the entry format there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == 1 {
            Ok(Self)
        } else {
            Err(format!("version {number} is not known, only 1"))
        }
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

fn by_file() -> Requester {
    Requester::at("file", None)
}

impl Request {
    /// A request to refresh the index.
    pub fn refresh(requester: Requester) -> Result<Self> {
        Ok(Self {
            version: Version,
            id: JobId::new()?,
            kind: Kind::Refresh,
            packages: None,
            requester,
        })
    }

    /// A request to apply the updates of `target`.
    pub fn apply(target: Target, requester: Requester) -> Result<Self> {
        let packages = Some(target);
        Ok(Self {
            version: Version,
            id: JobId::new()?,
            kind: Kind::Apply,
            packages,
            requester,
        })
    }

    /// Parses a queue entry named `id`.
    pub fn parse(id: &JobId, bytes: &[u8]) -> Result<Self> {
        let request: Self = serde_json::from_slice(bytes)?;
        ensure!(
            request.id == *id,
            "its id is {}, not its file's name",
            request.id
        );
        match request.kind {
            Kind::Apply => ensure!(request.packages.is_some(), "an apply names no packages"),
            Kind::Refresh => ensure!(request.packages.is_none(), "a refresh names packages"),
        }
        Ok(request)
    }
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
            &long,
        ] {
            assert!(name.parse::<PackageName>().is_err(), "{name:?} was taken");
        }
    }

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

    #[test]
    fn ids_sort_by_arrival_and_are_strict() {
        let first = JobId::new().unwrap();
        let second = JobId::new().unwrap();
        assert!(first.as_str()[..16] <= second.as_str()[..16]);
        assert_eq!(first.as_str().parse::<JobId>().unwrap(), first);
        for bad in [
            "",
            "x",
            "../../etc/passwd",
            "0123456789ABCDEF-abcdef",
            "0123456789abcdef-abcde",
        ] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entry_is_parsed_strictly() {
        let request = Request::apply(Target::All, Requester::at("dbus", Some(1000))).unwrap();
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            Request::parse(&request.id, text.as_bytes()).unwrap(),
            request
        );
        let other = JobId::new().unwrap();
        assert!(Request::parse(&other, text.as_bytes()).is_err());
        for (from, to) in [
            (r#""version":1"#, r#""version":2"#),
            (r#""kind":"apply""#, r#""kind":"apply","root":true"#),
            (r#""kind":"apply""#, r#""kind":"refresh""#),
            (r#"["all"]"#, r#"["foo-"]"#),
            (r#"["all"]"#, "[]"),
        ] {
            assert!(text.contains(from));
            let bad = text.replace(from, to);
            assert!(
                Request::parse(&request.id, bad.as_bytes()).is_err(),
                "{bad}"
            );
        }
    }
}
