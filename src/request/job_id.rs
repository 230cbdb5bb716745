//! The identity of a request and of the job it becomes.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::package::shown;

/// The identity of a request and of the job it becomes: 16 hex digits of Unix nanoseconds, `-`, 6
/// random hex digits. The names sort in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// A new id from the current time.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
