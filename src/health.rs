//! Decides health and its reasons from the records; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::state::alert::{Alert, Cause};
use crate::state::cache::{Cache, CacheStatus, LAST_REFRESH_FAILED};

/// Whether the host needs an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is wrong.
    Healthy,
    /// Something is wrong; the reasons say what.
    Degraded,
}

impl Health {
    /// The word for it in every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
        }
    }
}

/// Everything that health depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The index.
    pub cache: &'a Cache,
    /// The active alerts.
    pub alerts: &'a [Alert],
    /// Problems of the package database.
    pub problems: &'a [String],
    /// Whether the package database could be read completely, so that `problems` is exhaustive.
    pub sees_problems: bool,
    /// The security updates that a rollback by hand keeps back, a sentence for each rollback.
    pub taken_back: &'a [String],
    /// Why the configuration or the package manager cannot be used.
    pub unusable: Option<&'a str>,
    /// What keeps the front ends from reading the records or from being started, a sentence each.
    pub blind: &'a [String],
    /// Set when an interrupted job is not finished yet.
    pub under_way: Option<&'a str>,
    /// Set when security updates have been kept back for too long.
    pub kept_too_long: Option<&'a str>,
}

/// Why the host is degraded, one sentence each; none when it is healthy. An index that is only stale
/// is no reason: each caller that reads health asks for a refresh.
#[must_use]
pub fn reasons(facts: Facts<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(facts.under_way.map(str::to_owned));
    reasons.extend(facts.unusable.map(str::to_owned));
    reasons.extend_from_slice(facts.blind);
    if facts.cache.last_error.is_some() && !facts.cache.last_update_success {
        let why = facts
            .cache
            .last_error
            .as_deref()
            .unwrap_or("no reason is recorded");
        reasons.push(format!("{LAST_REFRESH_FAILED}: {why}"));
    } else if !facts.cache.last_update_success && facts.cache.last_cache_update.is_some() {
        reasons.push(LAST_REFRESH_FAILED.to_owned());
    }
    if facts.cache.last_update_success {
        let tolerated = facts.cache.sources.iter().filter_map(|source| {
            Some(format!(
                "the tolerated source {source} failed: {}",
                source.error.as_ref()?
            ))
        });
        reasons.extend(tolerated);
    }
    reasons.extend(facts.cache.not_listed());
    // what can be seen of the host now is said from there: an alert of it is as old as the last worker
    let seen = |alert: &&Alert| match alert.key.parse() {
        Ok(Cause::RefreshFailing) => {
            !facts.cache.last_update_success || facts.cache.list_error.is_some()
        }
        Ok(Cause::DatabaseInterrupted) => facts.sees_problems,
        _ => false,
    };
    let unseen = facts.alerts.iter().filter(|alert| !seen(alert));
    reasons.extend(unseen.map(|alert| alert.text.clone()));
    reasons.extend_from_slice(facts.taken_back);
    reasons.extend(facts.kept_too_long.map(str::to_owned));
    for problem in facts.problems {
        // the worker may have seen this one, too, among others
        if !reasons.iter().any(|reason| reason.contains(problem)) {
            reasons.push(problem.clone());
        }
    }
    reasons
}

/// Health and its reasons.
#[must_use]
pub fn health(facts: Facts<'_>) -> (Health, Vec<String>) {
    let reasons = reasons(facts);
    (
        if reasons.is_empty() {
            Health::Healthy
        } else {
            Health::Degraded
        },
        reasons,
    )
}

/// For how long a security update may be kept back before the host is degraded.
const KEPT_BACK_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many packages a sentence names at most.
const NAMED: usize = 5;

/// Why the host is degraded by security updates that are kept back for too long, of these packages since then.
#[must_use]
pub fn kept_back_too_long(
    since: &BTreeMap<String, DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<String> {
    let is_long = |at: DateTime<Utc>| (now - at).to_std().is_ok_and(|age| age > KEPT_BACK_FOR);
    let names = since.iter().filter(|(_, at)| is_long(**at));
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    let shown = names.iter().copied().take(NAMED).collect::<Vec<_>>();
    let (updates, more) = match names.len() {
        0 => return None,
        1 => ("the security update of", String::new()),
        count if count > NAMED => (
            "the security updates of",
            format!(" and {} more", count - NAMED),
        ),
        _ => ("the security updates of", String::new()),
    };
    let (has, shown) = (
        if names.len() == 1 { "has" } else { "have" },
        shown.join(", "),
    );
    Some(format!(
        "{updates} {shown}{more} {has} been kept back for more than 7 days; 'patchctl plan all' says why"
    ))
}

/// The time of the last successful refresh as the interfaces give it; empty for never.
#[must_use]
pub fn shown_time(time: Option<DateTime<Utc>>) -> String {
    time.map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        .unwrap_or_default()
}

/// What `patchctl health --json` prints: exactly these keys, for programs that monitor many hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// `healthy` or `degraded`.
    pub status: Health,
    /// The host's uptime in seconds.
    pub uptime_seconds: u64,
    /// The version of this program.
    pub version: String,
    /// When a refresh last succeeded; RFC 3339.
    pub last_cache_update: Option<String>,
    /// `fresh`, `stale`, `unknown` or `failed`.
    pub cache_status: CacheStatus,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock;
    use crate::package::Source;
    use crate::state::alert::Alerts;

    fn good() -> Cache {
        Cache {
            last_cache_update: Some(clock::now()),
            last_update_success: true,
            ..Cache::default()
        }
    }

    fn alert(cause: Cause, text: &str) -> Alert {
        let mut alerts = Alerts::default();
        alerts.raise(cause, text, None).unwrap().alert
    }

    fn reasons_of(cache: &Cache, alerts: &[Alert], problems: &[String]) -> Vec<String> {
        reasons(Facts {
            cache,
            alerts,
            problems,
            sees_problems: true,
            taken_back: &[],
            unusable: None,
            blind: &[],
            under_way: None,
            kept_too_long: None,
        })
    }

    #[test]
    fn what_the_door_cannot_see_the_worker_has_said() {
        let (cache, alerts) = (good(), [alert(Cause::DatabaseInterrupted, "a; b")]);
        let reasons_if = |sees_problems, problems: &[String]| {
            reasons(Facts {
                cache: &cache,
                alerts: &alerts,
                problems,
                sees_problems,
                taken_back: &[],
                unusable: None,
                blind: &[],
                under_way: None,
                kept_too_long: None,
            })
        };
        assert!(reasons_if(true, &[]).is_empty(), "it is over");
        assert_eq!(reasons_if(false, &[]), ["a; b"]);
        assert_eq!(reasons_if(false, &["b".into()]), ["a; b"], "only once");
        assert_eq!(reasons_if(false, &["c".into()]), ["a; b", "c"]);
    }

    #[test]
    fn a_security_update_may_be_kept_back_for_a_week() {
        let now = clock::now();
        let since = |names: &[(&str, i64)]| -> Option<String> {
            let since = names.iter().map(|(name, days)| {
                let at = now - chrono::Duration::days(*days) - chrono::Duration::hours(1);
                ((*name).to_owned(), at)
            });
            kept_back_too_long(&since.collect(), now)
        };
        assert_eq!(since(&[("a", 6), ("b", -3)]), None);
        let one = since(&[("a", 7), ("b", 6)]).unwrap();
        assert!(
            one.starts_with("the security update of a has been kept back"),
            "{one}"
        );
        let many: Vec<String> = (0..7).map(|n| format!("p{n}")).collect();
        let many: Vec<(&str, i64)> = many.iter().map(|name| (name.as_str(), 8)).collect();
        let many = since(&many).unwrap();
        assert!(many.contains("p3, p4 and 2 more have been"), "{many}");
    }

    #[test]
    fn a_fresh_host_without_failures_is_healthy() {
        assert!(reasons_of(&good(), &[], &[]).is_empty());
        assert!(
            reasons_of(&Cache::default(), &[], &[]).is_empty(),
            "never is no failure"
        );
    }

    #[test]
    fn each_reason_is_a_sentence_of_its_own() {
        let failed = Cache {
            last_update_success: false,
            last_error: Some("404".into()),
            ..good()
        };
        assert_eq!(
            reasons_of(&failed, &[], &[]),
            ["the last refresh failed: 404"]
        );
        assert_eq!(
            reasons_of(
                &good(),
                &[
                    alert(Cause::UpdateFailed, "the last update (all) failed: x"),
                    alert(Cause::DatabaseInterrupted, "x is half-configured"),
                ],
                &["x is half-configured".into()]
            ),
            ["the last update (all) failed: x", "x is half-configured"]
        );
        let killed = [alert(Cause::RefreshFailing, "the refresh died")];
        assert_eq!(reasons_of(&good(), &killed, &[]), ["the refresh died"]);
        assert_eq!(
            reasons_of(&failed, &killed, &[]),
            ["the last refresh failed: 404"]
        );
        let source = Source {
            uri: "http://x/".into(),
            suite: "stable".into(),
            last_success: None,
            index_date: None,
            error: Some("gone".into()),
            went_back: false,
            tolerated: true,
            file: String::new(),
        };
        let unlisted = Cache {
            list_error: Some("E: x".into()),
            ..good()
        };
        let alerts = [alert(
            Cause::RefreshFailing,
            &unlisted.not_listed().unwrap(),
        )];
        assert_eq!(
            reasons_of(&unlisted, &alerts, &[]),
            ["pending updates cannot be listed: E: x"],
            "once"
        );
        let tolerated = Cache {
            sources: vec![source],
            ..good()
        };
        assert_eq!(
            reasons_of(&tolerated, &[], &[]),
            ["the tolerated source http://x/ stable failed: gone"]
        );
    }
}
