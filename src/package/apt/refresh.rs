//! Refreshing: what `apt-get update` reported of each source, compared with the lists that it left on disk.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::acquire;
use super::backend::Apt;
use super::owed::{self, Owed};
use super::settings::Settings;
use super::source_report::{self, AptRefreshReport, SourceReport};
use super::{apt_config, arguments, release_file};
use crate::checksum;
use crate::exec::{ExitReason, Line, OutputHandler};
use crate::package::credentials::redacted;
use crate::package::{Observer, RefreshReport, Report, Source, lock};

/// The time a refresh may take, its waiting for apt's lock included.
const REFRESH_LIMIT: Duration = Duration::from_secs(120);

/// One run of `apt-get update`.
struct AptRefreshRun {
    report: AptRefreshReport,
    /// Whether it did not exit with 0.
    failed: bool,
    /// Files that apt could not fetch and that keep no update back.
    notes: Vec<String>,
}

/// Fetches the index of every source and reports the result of each, by the lists of packages alone.
pub fn run(settings: &Settings, observer: &mut dyn Observer) -> Result<RefreshReport> {
    let started = Instant::now();
    let lists = settings.lists();
    let _owed = Owed::set_aside(&lists);
    let mut run = update(&settings.patience(), started, observer)?;
    if run.lacks_extras() {
        run = without_extras(run, settings, started, observer)?;
    }
    let failed = run.failed && !run.is_failure_of_hooks();
    let (reported, mut errors) = (run.report.sources, run.report.errors);
    if reported.is_empty() && errors.is_empty() {
        errors.push("no package source is configured; see sources.list(5)".to_owned());
    }
    let targets = arguments::index_targets().output_checked()?;
    let sources: Vec<Source> = reported
        .iter()
        .map(|reported| confirmed(&lists, reported, &targets, failed))
        .collect();
    if failed && errors.is_empty() && sources.iter().all(|source| source.error.is_none()) {
        errors.push("apt-get update failed without saying why".to_owned());
    }
    let hooks = run.report.hooks.iter();
    let hooks = hooks.map(|hook| format!("a hook of 'apt-get update' failed: {hook}"));
    let notes = run.notes.into_iter().chain(hooks).collect();
    Ok(RefreshReport::of(sources, errors, source_report::is_network_error).noting(notes))
}

impl AptRefreshRun {
    /// Whether a source has nothing wrong but a file that no update depends on.
    fn lacks_extras(&self) -> bool {
        self.failed && self.report.sources.iter().any(SourceReport::lacks_extras)
    }

    /// Whether apt fetched everything, and exited with an error only because of a hook of the administrator.
    fn is_failure_of_hooks(&self) -> bool {
        let is_good = |source: &SourceReport| source.errors.is_empty() && source.extras.is_empty();
        !self.report.hooks.is_empty()
            && self.report.errors.is_empty()
            && self.report.sources.iter().all(is_good)
    }
}

/// Runs apt once more without what no update depends on. It takes all files of a source or none, so that a list
/// of contents or of pictures that does not fit keeps those of packages from being fetched.
///
/// If that run fails, the result of the first run holds, unless a stop was requested.
fn without_extras(
    first: AptRefreshRun,
    settings: &Settings,
    started: Instant,
    observer: &mut dyn Observer,
) -> Result<AptRefreshRun> {
    let lists = settings.lists();
    let lacking = first.report.sources.iter().filter(|s| s.lacks_extras());
    let before: Vec<_> = lacking
        .clone()
        .map(|source| index_of(&lists, source))
        .collect();
    let second = apt_config::index_kinds()
        .output_checked()
        .and_then(|kinds| {
            let options = [settings.patience(), arguments::packages_alone(&kinds)];
            update(&options.concat(), started, observer)
        });
    let mut second = match second {
        Ok(second) => second,
        Err(error) if observer.stop() => return Err(error),
        Err(error) => {
            tracing::debug!("the lists of packages were not fetched by themselves: {error:#}");
            return Ok(first);
        }
    };
    for (source, before) in lacking.zip(before) {
        let why = source.extras.join("; ");
        second
            .notes
            .push(format!("{} {}: {why}", source.uri, source.suite));
        if index_of(&lists, source) != before {
            owed::mark(&lists, &source.file);
        }
    }
    Ok(second)
}

/// What the index of a source is, as it lies on the disk.
fn index_of(lists: &Path, source: &SourceReport) -> Option<Vec<u8>> {
    fs::read(release_file::index_path(lists, &source.file)?).ok()
}

/// Fetches the packages of an upgrade that is shown these lists and told these versions; whether it came to its
/// end.
pub fn download(
    apt: &Apt,
    words: &[String],
    lists: &[OsString],
    observer: &mut dyn Observer,
) -> Result<bool> {
    let program = arguments::download(words, lists).args(apt.settings().patience());
    let finished = program.run(&mut AptRefreshHandler {
        reader: acquire::AcquireReader::default(),
        observer,
        fetches: false,
    })?;
    ensure!(
        finished.succeeded() || finished.exit_reason == ExitReason::Stopped,
        "{}",
        program.failure(&finished)
    );
    Ok(finished.succeeded())
}

/// One run of `apt-get update`; tried again while another process holds apt's lock on its lists.
fn update(
    options: &[OsString],
    started: Instant,
    observer: &mut dyn Observer,
) -> Result<AptRefreshRun> {
    lock::retry_within((REFRESH_LIMIT, started), observer, |left, observer| {
        let program = arguments::update().args(options).limit(left);
        let mut handler = AptRefreshHandler {
            reader: acquire::AcquireReader::default(),
            observer,
            fetches: false,
        };
        let finished = program.run(&mut handler)?;
        let reader = handler.reader;
        let failed = match finished.exit_reason {
            ExitReason::Exited(code) => code != 0,
            ExitReason::TimedOut => bail!("{}", too_long(&reader.finish())),
            ExitReason::Killed(_) | ExitReason::Stopped => {
                bail!("{}", program.failure(&finished))
            }
        };
        if failed && let Some(holder) = reader.lock_holder() {
            return Ok(Err(holder.to_owned()));
        }
        Ok(Ok(AptRefreshRun {
            report: reader.finish(),
            failed,
            notes: Vec::new(),
        }))
    })
}

/// Why a run was ended: the sources it still waited for.
fn too_long(report: &AptRefreshReport) -> String {
    let limit = REFRESH_LIMIT.as_secs();
    let silent = report.sources.iter().filter(|source| !source.answered);
    let silent: Vec<String> = silent.map(|s| format!("{} {}", s.uri, s.suite)).collect();
    if silent.is_empty() {
        return format!(
            "apt-get update was ended after {limit} s; a source does not answer, or too slowly, or a hook of apt's \
             does not end (APT::Update::Post-Invoke)"
        );
    }
    format!(
        "apt-get update was ended after {limit} s; a source does not answer, or too slowly: {}",
        silent.join(", ")
    )
}

/// Compares what apt reported of a source with the lists on disk; `failed` says that apt did not exit with 0.
fn confirmed(lists: &Path, reported: &SourceReport, targets: &str, failed: bool) -> Source {
    let mut source = reported.source();
    // apt's own words are nearer to the cause: it warns of an index that it cannot verify, and keeps the old one
    let warned = failed && !reported.warnings.is_empty();
    let index = release_file::index_path(lists, &reported.file).map(fs::read);
    let wrong = match index {
        // a directory of packages that has none, and that its administrator trusts: anywhere else, apt fails
        None if reported.packages && has_target(targets, &source) => None,
        None => Some("its index is missing after the refresh".to_owned()),
        Some(Err(error)) => Some(format!("its index cannot be read: {error}")),
        Some(Ok(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            source.index_date = release_file::index_date(&text);
            let sent = reported.sent.as_deref();
            let is_another = sent.is_some_and(|sent| sent != checksum::sha256(&bytes));
            // apt keeps the newer index it has and says nothing (acquire-item.cc; FACTS 3)
            source.went_back = source.error.is_none() && is_another && !warned;
            if is_another {
                Some("it served an index older than the one this host has already seen".to_owned())
            } else if !reported.answered {
                Some("it did not answer".to_owned())
            } else if !has_target(targets, &source) && !release_file::offers_nothing(&text) {
                Some("it has no package index for this host".to_owned())
            } else {
                None
            }
        }
    };
    let warnings = (warned && wrong.is_some()).then(|| reported.warnings.join("; "));
    source.error = match (source.error, warnings) {
        (Some(error), Some(warnings)) => Some(format!("{error}; {warnings}")),
        (error, warnings) => error.or(warnings).or(wrong),
    };
    source
}

fn has_target(targets: &str, source: &Source) -> bool {
    targets.lines().any(|line| {
        let mut fields = line.split('\t');
        let kind = matches!(fields.next(), Some("Packages" | "Sources"));
        let uri = fields.next().map(redacted);
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        kind && uri.is_some_and(|uri| same(&uri, &source.uri))
            && fields.next() == Some(&source.suite)
    })
}

struct AptRefreshHandler<'a> {
    reader: acquire::AcquireReader,
    observer: &'a mut dyn Observer,
    /// Whether it has begun to: it has its lock then.
    fetches: bool,
}

impl OutputHandler for AptRefreshHandler<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        self.reader.line(text);
        if !self.fetches && acquire::AcquireReader::is_request(text) {
            self.fetches = true;
            self.observer.report(Report::Downloading { percent: 0 });
        }
        if !acquire::AcquireReader::is_protocol(text) {
            self.observer.report(Report::Output(redacted(text)));
        }
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}
