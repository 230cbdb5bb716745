//! Updates that exist and are not applied, with the cause of each.

use serde::{Deserialize, Deserializer, Serialize};

/// Why an update is not applied, for programs; the sentence beside it says the same to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBackCause {
    /// The administrator holds, locks, ignores or excludes the package.
    Held,
    /// A pin prefers a version that is not newer than the installed one, or the package manager keeps to the vendor
    /// of what is installed.
    Pinned,
    /// The rollout of the new version is phased and has not reached this host.
    Phased,
    /// Another package would have to be removed for it.
    Removal,
    /// It needs something that cannot be installed.
    Dependency,
    /// It comes from a source whose last refresh failed.
    Source,
    /// It, or an update that it needs, was rolled back before.
    RolledBack,
    /// The configured policy leaves it out.
    Policy,
    /// It waits for an approval.
    NotApproved,
    /// The installed version is not the one that the request was made for.
    Drift,
    /// The file systems have no room for it.
    Space,
}

impl KeptBackCause {
    /// Whether the host should have got the update and could not. The other causes are settings of the administrator or
    /// of the archive.
    #[must_use]
    pub fn is_in_the_way(self) -> bool {
        match self {
            Self::Removal
            | Self::Dependency
            | Self::Source
            | Self::RolledBack
            | Self::NotApproved
            | Self::Drift
            | Self::Space => true,
            Self::Held | Self::Pinned | Self::Phased | Self::Policy => false,
        }
    }

    /// Whether a request for the package by name has failed for this cause: a new request would fail, too.
    #[must_use]
    pub fn fails_by_name(self) -> bool {
        self.is_in_the_way() && !matches!(self, Self::Removal | Self::Dependency)
    }
}

/// A package that has a newer version which an apply will not install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBack {
    /// The package's name, with its architecture where it is a foreign one.
    pub package: String,
    /// The cause; none where the package manager does not say it, and in records that older versions of
    /// this program have written.
    #[serde(default, deserialize_with = "known_cause")]
    pub cause: Option<KeptBackCause>,
    /// Whether the update that is kept back is for security.
    #[serde(default)]
    pub security: bool,
    /// Why, in one phrase.
    pub reason: String,
}

impl KeptBack {
    /// An update that is kept back for this cause. It is not for security until [`KeptBack::marked`] says so.
    pub fn new(
        package: impl Into<String>,
        cause: KeptBackCause,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            package: package.into(),
            cause: Some(cause),
            security: false,
            reason: reason.into(),
        }
    }

    /// What is kept back where a new package would replace installed ones: the update itself, or, if it is not
    /// installed, each package that it would replace.
    #[must_use]
    pub fn replacing(
        (new, version): (&str, &str),
        replaced: &[String],
        is_installed: bool,
    ) -> Vec<Self> {
        if is_installed {
            let replaced = replaced.join(", ");
            let reason = format!("{version} replaces {replaced}, which would be removed");
            return vec![Self::new(new, KeptBackCause::Removal, reason)];
        }
        let reason = format!("{new} replaces it, and it would be removed");
        let stays = |name: &String| Self::new(name, KeptBackCause::Removal, &reason);
        replaced.iter().map(stays).collect()
    }

    /// The same, for security or not.
    #[must_use]
    pub fn marked(self, security: bool) -> Self {
        Self { security, ..self }
    }
}

/// A cause that a newer version of this program has added reads as none: its sentence still says it.
fn known_cause<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<KeptBackCause>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_other_versions_are_read() {
        let read = |text: &str| serde_json::from_str::<KeptBack>(text).unwrap();
        let old = read(r#"{"package":"a","reason":"held"}"#);
        assert_eq!((old.cause, old.security), (None, false));
        let newer = read(r#"{"package":"a","reason":"x","cause":"moon_phase","more":1}"#);
        assert_eq!(newer.cause, None);
        let known = KeptBack::new("a", KeptBackCause::RolledBack, "x").marked(true);
        let text = serde_json::to_string(&known).unwrap();
        assert!(
            text.contains(r#""cause":"rolled_back","security":true"#),
            "{text}"
        );
        assert_eq!(read(&text), known);
        let null = serde_json::to_value(&old).unwrap();
        assert!(null["cause"].is_null() && null.get("cause").is_some());
    }
}
