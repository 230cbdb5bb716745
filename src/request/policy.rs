//! What follows an update: a reboot, restarts of services; and the parser of time spans.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether the host is rebooted after an update that changed something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RebootPolicy {
    /// Never.
    #[default]
    Never,
    /// If something runs that only a reboot replaces.
    WhenNeeded,
    /// Always.
    Always,
}

/// Whether services that still run replaced files are restarted after an update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// They are only reported.
    #[default]
    None,
    /// The worker restarts those whose restart disturbs no user and no other service.
    Safe,
}

/// The longest time span that is accepted: a month.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Parses a time span as systemd writes it (systemd.time(7)): `30s`, `5min`, `1h 30min`; a number alone
/// is in seconds. Whole numbers, a month at most.
pub fn time_span(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "'{}' is not a time span such as 30s, 5min or 1h",
            text.escape_debug()
        )
    };
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "" if after.is_empty() => 1,
            "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hr" | "hour" | "hours" => 60 * 60,
            "d" | "day" | "days" => 24 * 60 * 60,
            "w" | "week" | "weeks" => 7 * 24 * 60 * 60,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let more = number.checked_mul(factor).ok_or_else(wrong)?;
        seconds = seconds.checked_add(more).ok_or_else(wrong)?;
        rest = after.trim_start();
    }
    let span = Duration::from_secs(seconds);
    if span > LONGEST {
        return Err(format!("'{}' is longer than a month", text.escape_debug()));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_written_as_systemd_writes_them() {
        for (text, seconds) in [
            ("0", 0),
            ("90", 90),
            ("30s", 30),
            ("5min", 300),
            ("5 min", 300),
            ("1h 30min", 5400),
            ("1h30min", 5400),
            ("2d", 172_800),
        ] {
            assert_eq!(time_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            " ",
            "min",
            "-5",
            "5 parsecs",
            "1.5h",
            "5 5",
            "99w",
            "99999999999999999999s",
        ] {
            assert!(time_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn policies_are_words() {
        let policy: RebootPolicy = serde_json::from_str("\"when-needed\"").unwrap();
        assert_eq!(policy, RebootPolicy::WhenNeeded);
        assert_eq!(
            serde_json::to_string(&RestartPolicy::Safe).unwrap(),
            "\"safe\""
        );
        assert!(serde_json::from_str::<RebootPolicy>("\"maybe\"").is_err());
    }
}
