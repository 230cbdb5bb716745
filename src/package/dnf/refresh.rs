//! A refresh, and what it says of each repository.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::backend::Dnf;
use super::confirmed::{self, Confirmed};
use super::pending::{UPDATES_ARE_THERE, listed};
use super::refresh_output::{DnfRefreshReader, DnfRefreshReport};
use super::variant::Variant;
use super::{arguments, output};
use crate::exec::{ExitReason, Line, OutputHandler};
use crate::package::rpm::database_cache;
use crate::package::rpm::repositories::{self, Repository};
use crate::package::{Observer, RefreshReport, Report, Source};

/// The time a refresh may take, its waiting for a lock included.
const REFRESH_LIMIT: Duration = Duration::from_secs(120);

/// Fetches the index of every enabled repository.
pub fn run(dnf: &Dnf, observer: &mut dyn Observer) -> Result<RefreshReport> {
    let ends = Instant::now() + REFRESH_LIMIT;
    database_cache::read_ahead();
    let configured = dnf.configured();
    let (report, _) = update(dnf, &configured, observer)?;
    let mut errors = report.errors;
    if report.repositories.is_empty() && errors.is_empty() {
        errors.push("no package repository is enabled; see dnf.conf(5)".to_owned());
    }
    let is_away = |said: &Option<String>| said.as_deref().is_some_and(is_network_error);
    let confirmed = Confirmed {
        dnf,
        offline: report.repositories.values().all(is_away),
        lacking_extras: report.lacking_extras,
        ends,
    };
    let indexes = dnf.indexes();
    let sources: Vec<Source> = report
        .repositories
        .into_iter()
        .map(|(id, said)| {
            let configured = configured.iter().find(|repository| repository.id == id);
            let source = |error| repositories::source(&id, configured, error, &indexes);
            match confirmed.error(&id, said) {
                Some(error) if confirmed.lacks_extras(&id) => {
                    let error = confirmed.error_of_extras(error);
                    repositories::lacking_extras(source(Some(error)), dnf.variant.name())
                }
                error => source(error),
            }
        })
        .collect();
    Ok(RefreshReport::of(sources, errors, is_network_error))
}

/// One run of the refresh.
fn update(
    dnf: &Dnf,
    configured: &[Repository],
    observer: &mut dyn Observer,
) -> Result<(DnfRefreshReport, bool)> {
    if dnf.variant == Variant::Dnf5 {
        let caches = dnf.variant.caches();
        let mut repositories = caches.iter().flat_map(|at| repositories::cached(at));
        repositories.try_for_each(|(_, cache)| confirmed::expire(&cache))?;
    }
    let program = arguments::refresh(dnf.variant).limit(REFRESH_LIMIT);
    let mut watch = DnfRefreshHandler {
        reader: DnfRefreshReader::new(dnf.variant, configured),
        observer,
        waiting: String::new(),
        waits: false,
    };
    let finished = program.run(&mut watch)?;
    let failed = match finished.exit_reason {
        ExitReason::Exited(0 | UPDATES_ARE_THERE) => false,
        ExitReason::Exited(_) => true,
        ExitReason::TimedOut if watch.waits => bail!("{}", watch.waiting),
        ExitReason::TimedOut => bail!(
            "{} was ended after {} s; a repository does not answer, or too slowly",
            dnf.variant.name(),
            REFRESH_LIMIT.as_secs(),
        ),
        ExitReason::Killed(_) | ExitReason::Stopped => bail!("{}", program.failure(&finished)),
    };
    let mut reader = watch.reader;
    if !reader.is_complete()
        && let Ok(listed) = listed(&arguments::repositories(dnf.variant))
    {
        reader.enabled(&listed);
    }
    let mut report = reader.finish();
    if failed && report.errors.is_empty() && report.repositories.values().all(Option::is_none) {
        report.errors.push(program.failure(&finished));
    }
    Ok((report, failed))
}

struct DnfRefreshHandler<'a> {
    reader: DnfRefreshReader<'a>,
    observer: &'a mut dyn Observer,
    /// The process that it has waited for last.
    waiting: String,
    /// Whether it still does.
    waits: bool,
}

impl OutputHandler for DnfRefreshHandler<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        self.reader.line(text);
        let text = repositories::without_credentials(text);
        if output::is_waiting(&text) {
            if !self.waits || self.waiting != text {
                self.waiting.clone_from(&text);
                self.observer.report(Report::Waiting(text.clone()));
            }
            self.waits = true;
        } else if self.waits && !text.starts_with(' ') {
            // yum says with a blank before it what the other one is
            self.waits = false;
            self.observer.report(Report::Downloading { percent: 0 });
        }
        self.observer.report(Report::Output(text));
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}

/// Whether the failure means that the network, not the repository, is away: errors of libcurl for a name
/// that is not found, a connection that is refused, timed out or breaks (libcurl-errors(3): 5 to 7, 28, 35,
/// 52, 55, 56), and those of yum's urlgrabber.
pub fn is_network_error(why: &str) -> bool {
    let code = why
        .split_once("Curl error (")
        .and_then(|(_, rest)| rest.split_once(')'));
    if let Some((code, _)) = code {
        return matches!(code, "5" | "6" | "7" | "28" | "35" | "52" | "55" | "56");
    }
    [
        "Could not resolve host",
        "Failed to connect",
        "Couldn't connect",
        "Connection refused",
        "timed out",
    ]
    .iter()
    .any(|text| why.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_told_from_the_mirror() {
        assert!(is_network_error(
            "Curl error (7): Could not connect to server for http://127.0.0.1:9999/x/repodata/repomd.xml"
        ));
        assert!(is_network_error(
            "Curl error (6): Could not resolve hostname"
        ));
        assert!(!is_network_error(
            "Curl error (60): SSL peer certificate was not OK"
        ));
        assert!(!is_network_error("Status code: 404 for http://x/"));
    }
}
