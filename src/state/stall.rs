//! A silence of the package manager while packages changed, as the record of a job keeps it.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What hung, as far as its process shows. The worker ends no process because of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// The package whose script it was, where the worker could find that out.
    #[serde(default)]
    pub package: Option<String>,
    /// The script, by its path or name; none when no script was running.
    #[serde(default)]
    pub script: Option<String>,
    /// The process of the script; without one, the process that all others waited for.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The command line of the process that all others waited for.
    #[serde(default)]
    pub command: Option<String>,
    /// What the package manager said last that it was doing.
    #[serde(default)]
    pub action: Option<String>,
    /// Since when nothing was reported.
    pub since: DateTime<Utc>,
    /// When it went on, or ended.
    #[serde(default)]
    pub until: Option<DateTime<Utc>>,
}

impl Stall {
    /// What hangs, in a sentence without its time.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut sentence = match (&self.package, &self.script) {
            (Some(package), Some(script)) => format!("the script {script} of {package} hangs"),
            (_, Some(script)) => format!("the script {script} hangs"),
            _ => "the package manager hangs".to_owned(),
        };
        if let Some(pid) = self.pid {
            let _ = write!(sentence, ", process {pid}");
        }
        if let Some(command) = &self.command {
            let _ = write!(sentence, ", in '{command}'");
        }
        if let Some(action) = &self.action {
            let _ = write!(sentence, ", after '{action}'");
        }
        sentence
    }
}
