//! A refresh: what apk says of each repository.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::backend::{Apk, CACHE};
use super::listing;
use crate::package::credentials::redacted;

use super::output;
use crate::exec::{ExitReason, Line, OutputHandler};
use crate::package::{Observer, RefreshReport, Report, Source};

/// The time a refresh may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Where repositories are named.
const REPOSITORIES: &str = "/etc/apk/repositories";

impl Apk {
    /// Refreshes, and tells of every repository.
    pub(super) fn fetch(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        fs::create_dir_all(CACHE).with_context(|| format!("failed to create '{CACHE}'"))?;
        let text = fs::read_to_string(REPOSITORIES)
            .with_context(|| format!("failed to read '{REPOSITORIES}'"))?;
        let addresses: Vec<String> = listing::repositories(&text)
            .iter()
            .map(|address| redacted(address))
            .collect();
        let mut listener = ApkRefreshHandler {
            said: Vec::new(),
            observer,
        };
        let program = self.apk.update().limit(LIMIT);
        let finished = program.run(&mut listener)?;
        let said = listener.said;
        ensure!(
            !matches!(
                finished.exit_reason,
                ExitReason::Killed(_) | ExitReason::Stopped | ExitReason::TimedOut
            ),
            "{}",
            program.failure(&finished)
        );
        let about = |address: &String| {
            said.iter()
                .find(|line| line.contains(address.as_str()))
                .cloned()
        };
        let sources: Vec<Source> = addresses
            .iter()
            .map(|address| Source {
                uri: address.clone(),
                suite: address
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                last_success: None,
                index_date: None,
                error: about(address),
                went_back: false,
                tolerated: false,
                file: String::new(),
            })
            .collect();
        let mut errors = Vec::new();
        if sources.is_empty() {
            errors.push("no repository is configured; see apk-repositories(5)".to_owned());
        } else if !finished.succeeded() && sources.iter().all(|source| source.error.is_none()) {
            errors.push(program.failure(&finished));
        }
        Ok(RefreshReport::of(sources, errors, output::is_network_error))
    }
}

struct ApkRefreshHandler<'a> {
    said: Vec<String>,
    observer: &'a mut dyn Observer,
}

impl OutputHandler for ApkRefreshHandler<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        let text = redacted(text);
        let complaint = text
            .strip_prefix("ERROR: ")
            .or_else(|| text.strip_prefix("WARNING: "));
        if let Some(complaint) = complaint {
            self.said.push(complaint.to_owned());
        }
        self.observer.report(Report::Output(text));
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}
