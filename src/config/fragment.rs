//! One file of the configuration, as it is written.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Deserialize;

use super::foreign_shutdown::ForeignShutdown;
use crate::paths::quoted;
use crate::request::{RebootPolicy, RestartPolicy, time_span};

/// One file. A key that is not set leaves what files before it said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fragment {
    pub(super) backend: Option<String>,
    #[serde(default)]
    pub(super) refresh: RefreshFragment,
    #[serde(default)]
    pub(super) jobs: JobsFragment,
    #[serde(default)]
    pub(super) apply: ApplyFragment,
    #[serde(default)]
    pub(super) verify: VerifyFragment,
    #[serde(default)]
    pub(super) rollback: RollbackFragment,
    #[serde(default)]
    pub(super) reboot: RebootFragment,
    #[serde(default)]
    pub(super) services: ServicesFragment,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyFragment {
    pub(super) stuck_after: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyFragment {
    pub(super) settle: Option<u32>,
    pub(super) timeout: Option<std::num::NonZeroU32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RebootFragment {
    pub(super) policy: Option<RebootPolicy>,
    pub(super) delay: Option<Span>,
    pub(super) message: Option<String>,
    pub(super) foreign: Option<ForeignShutdown>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackFragment {
    pub(super) automatic: Option<bool>,
    pub(super) require_rollback: Option<bool>,
    pub(super) keep_size: Option<Size>,
    pub(super) remove_old_kernels: Option<bool>,
}

/// A number of bytes: `500M`, `1G`, with the units K, M, G and T of systemd (powers of 1024).
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Size(pub(super) u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a size, such as \"500M\" or \"1G\"");
        let unit = text.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = text.split_at(unit.unwrap_or(text.len()));
        let power = match unit {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let bytes = number.checked_mul(1 << power).ok_or_else(wrong)?;
        Ok(Self(bytes))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServicesFragment {
    pub(super) restart: Option<RestartPolicy>,
    pub(super) never: Option<Vec<String>>,
}

/// A time span, such as `5min`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        time_span(&text).map(Self)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobsFragment {
    pub(super) keep: Option<usize>,
    pub(super) keep_days: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshFragment {
    pub(super) tolerate: Option<Vec<String>>,
    pub(super) stage: Option<bool>,
}

/// Parses one file; the error names the file, the line and what is wrong, on one line.
pub(super) fn parse(path: &Path, text: &str) -> Result<Fragment> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .map(|span| text[..span.start].matches('\n').count() + 1);
        let line = line.map_or_else(String::new, |line| format!(", line {line}"));
        anyhow!(
            "{}{line}: {}",
            quoted(path),
            error.message().replace('\n', " ")
        )
    })
}
