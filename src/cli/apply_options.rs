//! The options of `patchctl apply`, converted for the service.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::session::Refused;
use crate::api::value::{self, Dictionary};
use crate::request::{Options, RebootPolicy, RestartPolicy};
use crate::sorted::InOrder;

/// Whether a job is waited for, and what is shown at its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// `--no-wait`: it is not waited for, its id is all that is shown.
    pub no_wait: bool,
    /// `--timeout`: it is waited for no longer than that.
    pub limit: Option<Duration>,
    /// `--json`: its record is shown, as JSON.
    pub json: bool,
}

/// The options of `patchctl apply`, as given.
#[derive(Debug, Default)]
pub struct ApplyOptions {
    /// `--defer`
    pub defer: bool,
    /// `--expect`
    pub expect: Vec<(String, String)>,
    /// `--if-unmodified-since`
    pub if_unmodified_since: Option<DateTime<Utc>>,
    /// `--key`
    pub key: Option<String>,
    /// `--reboot`
    pub reboot: Option<RebootPolicy>,
    /// `--restart`
    pub restart: Option<RestartPolicy>,
}

impl ApplyOptions {
    /// The options as the service takes them. An option that the service would refuse is a usage error here.
    pub(super) fn dictionary(&self) -> Result<Dictionary> {
        let expect: serde_json::Map<_, _> = self
            .expect
            .iter()
            .map(|(p, v)| (p.clone(), Value::from(v.as_str())))
            .in_order();
        let since = self
            .if_unmodified_since
            .map(|t| t.to_rfc3339_opts(SecondsFormat::Nanos, true));
        let mut options = json!({ "expect": expect, "idempotency_key": self.key });
        if self.defer {
            options["wait_for_network"] = true.into();
        }
        if let Some(reboot) = self.reboot {
            options["reboot"] = serde_json::to_value(reboot)?;
        }
        if let Some(restart) = self.restart {
            options["restart"] = serde_json::to_value(restart)?;
        }
        if let Some(since) = since {
            options["if_unmodified_since"] = since.into();
        }
        serde_json::from_value::<Options>(options.clone())
            .map_err(|error| Refused::Usage(error.to_string()))?;
        value::dictionary(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_the_door_and_bad_ones_do_not() {
        let asked = ApplyOptions {
            defer: true,
            expect: vec![("demo".into(), "1.0".into())],
            if_unmodified_since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            key: Some("k".into()),
            reboot: Some(RebootPolicy::WhenNeeded),
            restart: Some(RestartPolicy::Safe),
        };
        let given = value::object(&asked.dictionary().unwrap());
        let parsed: Options = serde_json::from_value(given).unwrap();
        assert_eq!(parsed.reboot, Some(RebootPolicy::WhenNeeded));
        assert!(parsed.wait_for_network && parsed.expect.len() == 1);
        assert_eq!(parsed.if_unmodified_since, asked.if_unmodified_since);
        let bad = ApplyOptions {
            key: Some("a b".into()),
            ..ApplyOptions::default()
        };
        assert!(bad.dictionary().unwrap_err().is::<Refused>());
        assert!(ApplyOptions::default().dictionary().is_ok());
    }
}
