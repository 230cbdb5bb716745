//! One index that apt asked a download method for, and the answer.

use super::source_report::SourceReport;

/// One index that apt asked a method for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRequest {
    /// Where it was asked for: what it was redirected to comes after it. A list of mirrors redirects, too.
    pub uris: Vec<String>,
    pub repository: String,
    pub suite: String,
    pub file: String,
    pub answer: IndexAnswer,
    /// Whether a list of its packages was sent, or has not changed.
    pub packages: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexAnswer {
    Pending,
    /// The index has not changed since.
    Unchanged,
    /// It was sent; the SHA-256 of what was sent.
    Sent(Option<String>),
}

impl IndexRequest {
    /// The directories the index was asked for in.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.uris
            .iter()
            .map(|uri| uri.strip_suffix("/InRelease").unwrap_or(uri))
    }

    /// The addresses of the index when it is not signed in place.
    pub fn releases(&self) -> impl Iterator<Item = String> {
        self.places().map(|place| format!("{place}/Release"))
    }

    pub fn report(&self) -> SourceReport {
        SourceReport {
            uri: self.repository.clone(),
            suite: self.suite.clone(),
            file: self.file.clone(),
            places: self.places().map(str::to_owned).collect(),
            errors: Vec::new(),
            warnings: Vec::new(),
            extras: Vec::new(),
            packages: self.packages,
            answered: self.answer != IndexAnswer::Pending,
            sent: match &self.answer {
                IndexAnswer::Sent(hash) => hash.clone(),
                _ => None,
            },
        }
    }
}
