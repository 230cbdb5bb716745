//! The options of a request: waiting, preconditions, the idempotency key, reboot and restarts.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::package::{PackageName, shown};
use super::policy::{RebootPolicy, RestartPolicy};

/// The most characters of an idempotency key, and of a version.
const MAX_TEXT: usize = 128;

/// The keys of [`Options`].
pub const KEYS: [&str; 6] = [
    "wait_for_network",
    "expect",
    "if_unmodified_since",
    "idempotency_key",
    "reboot",
    "restart",
];

/// The options of an apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Wait and try again when there is no network, instead of failing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait_for_network: bool,
    /// The installed versions that the request was made against.
    #[serde(
        default,
        deserialize_with = "each_once",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub expect: BTreeMap<PackageName, Version>,
    /// The date of the index that the request was made against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_unmodified_since: Option<DateTime<Utc>>,
    /// Requests of one user with the same key are one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Key>,
    /// Whether a reboot follows; by default as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<RebootPolicy>,
    /// Whether services are restarted afterwards; by default as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
}

impl Options {
    /// Whether no option is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the request is bound to a state of the host.
    #[must_use]
    pub fn has_precondition(&self) -> bool {
        !self.expect.is_empty() || self.if_unmodified_since.is_some()
    }

    /// Whether the host may be rebooted because of this request, and not by its configuration.
    #[must_use]
    pub fn asks_for_reboot(&self) -> bool {
        self.reboot
            .is_some_and(|policy| policy != RebootPolicy::Never)
    }

    /// The request without its preconditions.
    #[must_use]
    pub fn unconditional(&self) -> Self {
        Self {
            expect: BTreeMap::new(),
            if_unmodified_since: None,
            ..self.clone()
        }
    }

    /// Whether one transaction may serve two requests. A request that may wait for the network ends differently
    /// from one that may not when a download fails. Reboot and restarts apply to a whole transaction, so requests
    /// with other settings would have to follow those of the first.
    #[must_use]
    pub fn mixes_with(&self, other: &Self) -> bool {
        self.wait_for_network == other.wait_for_network
            && self.reboot == other.reboot
            && self.restart == other.restart
    }
}

// serde asks for a reference
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(truth: &bool) -> bool {
    !truth
}

/// Versions by package. A package that is named twice is an error: the worker must not guess which version was
/// meant, and serde would take the last.
pub fn each_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<PackageName, Version>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = BTreeMap<PackageName, Version>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("versions by package")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut versions = BTreeMap::new();
            while let Some((package, version)) = map.next_entry::<PackageName, Version>()? {
                if versions.contains_key(&package) {
                    return Err(A::Error::custom(format!("{package} is given twice")));
                }
                versions.insert(package, version);
            }
            Ok(versions)
        }
    }
    deserializer.deserialize_map(Entries)
}

/// A version, as a package manager writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Version {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+-~:^_".contains(c);
        ensure!(
            !text.is_empty() && text.len() <= MAX_TEXT && text.chars().all(plain),
            "{} is not a version",
            shown(&text),
        );
        Ok(Self(text))
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

/// The name that a caller gives to a request, so that sending it again creates no second job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Key {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        ensure!(
            !text.is_empty()
                && text.len() <= MAX_TEXT
                && text.chars().all(|c| c.is_ascii_graphic()),
            "{} is not an idempotency key: 1 to {MAX_TEXT} visible ASCII characters",
            shown(&text),
        );
        Ok(Self(text))
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_strictly() {
        let parse = |text: &str| serde_json::from_str::<Options>(text);
        assert!(parse("{}").unwrap().is_empty());
        let full = r#"{"wait_for_network":true,"expect":{"demo":"1:1.0~rc1-2"},
            "if_unmodified_since":"2026-01-02T03:04:05Z","idempotency_key":"a-b"}"#;
        let options = parse(full).unwrap();
        assert!(options.wait_for_network && options.has_precondition());
        assert!(!options.unconditional().has_precondition());
        for bad in [
            r#"{"force":true}"#,
            r#"{"expect":{"demo-":"1"}}"#,
            r#"{"expect":{"demo":"1 2"}}"#,
            r#"{"expect":{"demo":""}}"#,
            r#"{"expect":{"demo":"1","demo":"1"}}"#,
            r#"{"expect":{"demo":"1","d\u0065mo":"2"}}"#,
            r#"{"if_unmodified_since":"yesterday"}"#,
            r#"{"idempotency_key":"a b"}"#,
            r#"{"idempotency_key":""}"#,
            r#"{"wait_for_network":1}"#,
            r#"{"reboot":"sometimes"}"#,
            r#"{"reboot":true}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn policies_that_differ_do_not_mix() {
        let options = |text: &str| serde_json::from_str::<Options>(text).unwrap();
        let plain = Options::default();
        for text in [r#"{"reboot":"always"}"#, r#"{"restart":"safe"}"#] {
            assert!(!options(text).mixes_with(&plain) && !plain.mixes_with(&options(text)));
            assert!(options(text).mixes_with(&options(text)));
        }
    }
}
