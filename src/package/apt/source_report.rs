//! What one run of `apt-get update` reported of each source.

use crate::package::Source;

/// What one run of `apt-get update` reported.
#[derive(Debug, Default)]
pub struct AptRefreshReport {
    /// The sources that it asked.
    pub sources: Vec<SourceReport>,
    /// The errors that belong to none of them.
    pub errors: Vec<String>,
    /// The hooks of apt's that failed, in apt's words.
    pub hooks: Vec<String>,
}

/// What the run reported of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// Its address, without credentials.
    pub uri: String,
    /// Its suite.
    pub suite: String,
    /// The name of its index among apt's lists.
    pub file: String,
    /// The addresses below which it was asked for anything, its own and those it redirects to.
    pub places: Vec<String>,
    /// apt's errors.
    pub errors: Vec<String>,
    /// What it warned of.
    pub warnings: Vec<String>,
    /// What it could not fetch and nothing of an update depends on, each with why.
    pub extras: Vec<String>,
    /// Whether a list of its packages was sent, or has not changed.
    pub packages: bool,
    /// The SHA-256 of the index as it was sent; `None` when it was not sent.
    pub sent: Option<String>,
    /// Whether the index was confirmed at all.
    pub answered: bool,
}

/// Whether an error of apt's means that the network, and not the source, is away: texts of apt 2.6 and 3.0 for a
/// refused or timed out connection, and for a name that cannot be resolved.
#[must_use]
pub fn is_network_error(error: &str) -> bool {
    [
        "Could not connect to",
        "Unable to connect to",
        "Could not resolve",
        "Temporary failure resolving",
        "Cannot initiate the connection",
        "Connection failed",
        "connection timed out",
        "Connection timed out",
        "Network is unreachable",
        "Something wicked happened resolving",
    ]
    .iter()
    .any(|text| error.contains(text))
}

impl SourceReport {
    /// Whether nothing is wrong but that there is a file which no update depends on.
    #[must_use]
    pub fn lacks_extras(&self) -> bool {
        self.errors.is_empty() && !self.extras.is_empty()
    }

    /// The source as it is recorded, before its index is looked at.
    #[must_use]
    pub fn source(&self) -> Source {
        let errors: Vec<&str> = self
            .errors
            .iter()
            .chain(&self.extras)
            .map(String::as_str)
            .collect();
        Source {
            uri: self.uri.clone(),
            suite: self.suite.clone(),
            last_success: None,
            index_date: None,
            error: (!errors.is_empty()).then(|| errors.join("; ")),
            went_back: false,
            tolerated: false,
            file: self.file.clone(),
        }
    }
}
