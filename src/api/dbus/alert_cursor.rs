//! The signals `AlertRaised` and `AlertResolved`: the service sends each event once.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use zbus::object_server::SignalEmitter;

use super::agent::Agent;
use crate::paths::Paths;
use crate::state;
use crate::state::alert::AlertEvent;

/// Which alerts the service has signalled. The first instance of the service that sees an alert signals it, and
/// records that here for the next instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCursor {
    number: u64,
}

impl AlertCursor {
    /// What earlier instances of the service signalled.
    pub fn load(paths: &Paths) -> Self {
        let told: Option<Self> = state::try_read(&told_file(paths)).unwrap_or_default();
        told.unwrap_or_default()
    }

    /// Signals the events that were not signalled yet.
    pub async fn tell_alerts(
        &mut self,
        paths: &Paths,
        emitter: &SignalEmitter<'_>,
        events: &[AlertEvent],
    ) -> Result<()> {
        let before = self.number;
        if events.last().is_some_and(|last| last.number < self.number) {
            // the alerts file was lost, and its numbers start again
            self.number = 0;
        }
        for event in events {
            if event.number <= self.number {
                continue;
            }
            let alert = &event.alert;
            if event.raised {
                let since = u64::try_from(alert.since.timestamp_micros()).unwrap_or(0);
                Agent::alert_raised(emitter, &alert.key, &alert.text, since).await?;
            } else {
                Agent::alert_resolved(emitter, &alert.key).await?;
            }
            self.number = event.number;
        }
        if self.number != before {
            // not synced: after a power cut, a repeated signal is better than a lost one
            let file = told_file(paths);
            let written = file.with_extension("new");
            std::fs::write(&written, serde_json::to_vec(self)?)
                .and_then(|()| std::fs::rename(&written, &file))
                .unwrap_or_else(|error| tracing::warn!("'{}': {error}", file.display()));
        }
        Ok(())
    }
}

/// In the one directory that the service may write to and no other program reads.
fn told_file(paths: &Paths) -> PathBuf {
    paths.tmp().join("told-alerts")
}
