//! `state/cache.json`: when the package index was last refreshed, and how each source did.

use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::write_atomically;
use crate::host::clock::Moment;
use crate::package::Source;
use crate::paths::Paths;

/// The age from which an index is stale. Not configurable.
pub const STALE_AFTER: Duration = Duration::from_secs(14_400);

/// How health and alert begin to say that the last refresh failed.
pub const LAST_REFRESH_FAILED: &str = "the last refresh failed";

/// What is known of the package index. Other programs read the first two keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// When a refresh last succeeded; a failed one never moves it.
    pub last_cache_update: Option<DateTime<Utc>>,
    /// Whether the last attempt succeeded.
    pub last_update_success: bool,
    /// When a refresh was last attempted.
    #[serde(default)]
    pub last_attempt: Option<DateTime<Utc>>,
    /// Why the last attempt failed.
    #[serde(default)]
    pub last_error: Option<String>,
    /// What failed during the last attempt without keeping an update back, such as a hook of the package manager's.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Why what is pending could not be listed from this index.
    #[serde(default)]
    pub list_error: Option<String>,
    /// The moment of `last_cache_update`, which tells its age whatever the wall clock says.
    #[serde(default)]
    pub refreshed: Option<Moment>,
    /// The moment of `last_attempt`.
    #[serde(default)]
    pub attempted: Option<Moment>,
    /// Every enabled source.
    #[serde(default)]
    pub sources: Vec<Source>,
}

/// How far the index can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheStatus {
    /// Refreshed successfully, and not longer ago than [`STALE_AFTER`].
    Fresh,
    /// Refreshed successfully, but too long ago.
    Stale,
    /// Never refreshed, or nothing is known of it.
    Unknown,
    /// The last attempt failed.
    Failed,
}

impl CacheStatus {
    /// The word that stands for it in every interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

impl Cache {
    /// Reads the file; one that is missing or not usable reads as never refreshed.
    #[must_use]
    pub fn load(paths: &Paths) -> Self {
        super::read(&path(paths)).unwrap_or_default()
    }

    /// Writes the file, durably and for everybody to read.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&path(paths), &serde_json::to_vec(self)?, 0o644)
    }

    /// What the state of the index is called at `now`.
    #[must_use]
    pub fn status(&self, now: DateTime<Utc>, moment: &Moment) -> CacheStatus {
        if !self.last_update_success && (self.last_cache_update.is_some() || self.attempted_once())
        {
            return CacheStatus::Failed;
        }
        match self.age(now, moment) {
            None if self.last_cache_update.is_none() => CacheStatus::Unknown,
            Some(age) if age <= STALE_AFTER => CacheStatus::Fresh,
            _ => CacheStatus::Stale,
        }
    }

    /// Whether the index should be refreshed: older than [`STALE_AFTER`], of unknown age, or never.
    #[must_use]
    pub fn is_stale(&self, now: DateTime<Utc>, moment: &Moment) -> bool {
        self.age(now, moment).is_none_or(|age| age > STALE_AFTER)
    }

    /// That the package manager cannot tell what is pending, though there is an index; a sentence.
    #[must_use]
    pub fn not_listed(&self) -> Option<String> {
        let why = self.list_error.as_ref()?;
        Some(format!("pending updates cannot be listed: {why}"))
    }

    /// The sources that failed and may: nothing is taken from their old indexes.
    #[must_use]
    pub fn failed_sources(&self) -> Vec<&Source> {
        self.sources
            .iter()
            .filter(|source| source.error.is_some())
            .collect()
    }

    /// How long ago a refresh was last attempted.
    #[must_use]
    pub fn since_attempt(&self, now: DateTime<Utc>, moment: &Moment) -> Option<Duration> {
        elapsed(self.last_attempt?, self.attempted.as_ref(), now, moment)
    }

    fn age(&self, now: DateTime<Utc>, moment: &Moment) -> Option<Duration> {
        elapsed(
            self.last_cache_update?,
            self.refreshed.as_ref(),
            now,
            moment,
        )
    }

    fn attempted_once(&self) -> bool {
        self.last_attempt.is_some() || self.last_error.is_some()
    }
}

/// The time since then: by the clock that only counts within one boot, by the wall clock across boots.
/// From a date in the future none has passed: one of the clocks was wrong.
fn elapsed(
    then: DateTime<Utc>,
    counted: Option<&Moment>,
    now: DateTime<Utc>,
    moment: &Moment,
) -> Option<Duration> {
    let counted = counted.and_then(|counted| moment.since(counted));
    counted.or_else(|| (now - then).to_std().ok())
}

fn path(paths: &Paths) -> std::path::PathBuf {
    paths.state().join("cache.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock;

    fn moment(boot: &str, seconds: u64) -> Moment {
        Moment {
            boot_id: boot.to_owned(),
            uptime_usec: seconds * 1_000_000,
        }
    }

    fn refreshed(hours_ago: i64) -> Cache {
        Cache {
            last_cache_update: Some(clock::now() - chrono::Duration::hours(hours_ago)),
            last_update_success: true,
            ..Cache::default()
        }
    }

    fn status(cache: &Cache) -> CacheStatus {
        cache.status(clock::now(), &moment("b", 100_000))
    }

    #[test]
    fn the_age_decides() {
        assert_eq!(status(&refreshed(3)), CacheStatus::Fresh);
        assert_eq!(status(&refreshed(5)), CacheStatus::Stale);
        assert_eq!(
            status(&refreshed(-5)),
            CacheStatus::Stale,
            "a future date proves nothing"
        );
        assert_eq!(status(&Cache::default()), CacheStatus::Unknown);
        assert_eq!(
            status(&Cache {
                last_update_success: false,
                ..refreshed(1)
            }),
            CacheStatus::Failed
        );
        let tried = Cache {
            last_attempt: Some(clock::now()),
            ..Cache::default()
        };
        assert_eq!(status(&tried), CacheStatus::Failed);
        let claims = Cache {
            last_update_success: true,
            ..Cache::default()
        };
        assert_ne!(
            status(&claims),
            CacheStatus::Fresh,
            "success without a date"
        );
    }

    #[test]
    fn within_a_boot_the_wall_clock_does_not_matter() {
        let cache = Cache {
            refreshed: Some(moment("b", 90_000)),
            ..refreshed(24 * 3650)
        };
        assert_eq!(status(&cache), CacheStatus::Fresh);
        let cache = Cache {
            refreshed: Some(moment("b", 80_000)),
            ..refreshed(-1)
        };
        assert_eq!(status(&cache), CacheStatus::Stale);
        let cache = Cache {
            refreshed: Some(moment("other", 90_000)),
            ..refreshed(5)
        };
        assert_eq!(status(&cache), CacheStatus::Stale);
    }

    #[test]
    fn the_file_is_as_others_read_it() {
        let value = serde_json::to_value(Cache::default()).unwrap();
        assert_eq!(value["last_cache_update"], serde_json::Value::Null);
        assert_eq!(value["last_update_success"], serde_json::Value::Bool(false));
        let text = r#"{"last_cache_update": "2026-01-02T03:04:05Z", "last_update_success": true}"#;
        let cache: Cache = serde_json::from_str(text).unwrap();
        assert_eq!(
            cache.last_cache_update.unwrap().to_rfc3339(),
            "2026-01-02T03:04:05+00:00"
        );
    }

    #[test]
    fn an_unusable_file_reads_as_never_refreshed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        std::fs::create_dir_all(paths.state()).unwrap();
        assert_eq!(Cache::load(&paths), Cache::default(), "missing");
        let texts: &[&[u8]] = &[
            b"",
            b"{",
            b"\xff\xfe\0",
            b"[]",
            b"null",
            b"{\"last_cache_update\": 5, \"last_update_success\": true}",
            b"{\"last_cache_update\": \"yesterday\", \"last_update_success\": true}",
            b"{}",
            b"{\"last_cache_update\": \"2026-01-02T03:04:05Z\", \"last_update_success\": \"yes\"}",
        ];
        for text in texts {
            std::fs::write(path(&paths), text).unwrap();
            assert_eq!(
                Cache::load(&paths),
                Cache::default(),
                "{}",
                String::from_utf8_lossy(text)
            );
        }
        std::fs::remove_file(path(&paths)).unwrap();
        std::fs::create_dir(path(&paths)).unwrap();
        assert_eq!(Cache::load(&paths), Cache::default(), "a directory");
        let cache = refreshed(1);
        std::fs::remove_dir(path(&paths)).unwrap();
        cache.save(&paths).unwrap();
        assert_eq!(Cache::load(&paths), cache);
    }
}
