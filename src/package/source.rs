//! Package sources, and the result of a refresh.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One package source and the result of its last refresh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its address, without credentials.
    pub uri: String,
    /// The release, suite or repository name at that address.
    pub suite: String,
    /// When its index was last confirmed.
    pub last_success: Option<DateTime<Utc>>,
    /// The date its index gives of itself; the newest one ever seen.
    pub index_date: Option<DateTime<Utc>>,
    /// What was wrong at the last attempt, in the package manager's words.
    pub error: Option<String>,
    /// Whether that is an index older than one seen before.
    #[serde(default)]
    pub went_back: bool,
    /// Whether the configuration tolerates that it fails.
    pub tolerated: bool,
    /// The name its index has among the package manager's files.
    pub file: String,
}

impl Source {
    /// Its host name, which `refresh.tolerate` lists.
    #[must_use]
    pub fn host(&self) -> &str {
        let rest = self
            .uri
            .split_once("://")
            .map_or(self.uri.as_str(), |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or(rest);
        let host = authority.rsplit('@').next().unwrap_or(authority);
        host.split(':').next().unwrap_or(host)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.uri, self.suite)
    }
}

/// The result of a refresh for each source, and the errors of the run as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefreshReport {
    /// Every enabled source.
    pub sources: Vec<Source>,
    /// What failed and belongs to no single source.
    pub errors: Vec<String>,
    /// Whether every failure means that the network is away.
    pub offline: bool,
    /// What went wrong without keeping an update back.
    pub notes: Vec<String>,
}

impl RefreshReport {
    /// Offline when something failed, and every failure means that the network is away.
    pub(super) fn of(
        sources: Vec<Source>,
        errors: Vec<String>,
        is_network: fn(&str) -> bool,
    ) -> Self {
        let mut failures = sources
            .iter()
            .filter_map(|source| source.error.as_ref())
            .chain(&errors)
            .peekable();
        let offline = failures.peek().is_some() && failures.all(|error| is_network(error));
        Self {
            sources,
            errors,
            offline,
            notes: Vec::new(),
        }
    }

    /// The same with these notes.
    pub(super) fn noting(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_source_is_found() {
        let host = |uri: &str| {
            let source = Source {
                uri: uri.to_owned(),
                suite: "stable".to_owned(),
                last_success: None,
                index_date: None,
                error: None,
                went_back: false,
                tolerated: false,
                file: String::new(),
            };
            source.host().to_owned()
        };
        assert_eq!(
            host("http://packages.example.org/debian/"),
            "packages.example.org"
        );
        assert_eq!(
            host("https://user:pw@packages.example.org:8080/x"),
            "packages.example.org"
        );
        assert_eq!(host("file:/srv/repo/"), "file");
    }
}
