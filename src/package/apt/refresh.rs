//! Refreshing: what `apt-get update` said of each source, held against what it left on the disk.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{acquire, arguments};
use crate::checksum;
use crate::package::command::{Ending, Line, Watch};
use crate::package::{Observer, Refreshed, Report, Source, lock};

/// The time a refresh may take, its waiting for apt's lock included.
const REFRESH_LIMIT: Duration = Duration::from_secs(120);

/// Fetches the index of every source, and says of each what came of it.
pub fn run(lists: &Path, observer: &mut dyn Observer) -> Result<Refreshed> {
    let (reader, failed) = update(observer)?;
    let (heard, mut errors) = reader.finish(failed);
    if heard.is_empty() && errors.is_empty() {
        errors.push("no package source is configured; see sources.list(5)".to_owned());
    }
    let targets = arguments::index_targets().capture()?;
    let sources: Vec<Source> = heard
        .iter()
        .map(|heard| confirmed(lists, heard, &targets, failed))
        .collect();
    if failed && errors.is_empty() && sources.iter().all(|source| source.error.is_none()) {
        errors.push("apt-get update failed without saying why".to_owned());
    }
    Ok(Refreshed::of(sources, errors, acquire::is_network_error))
}

/// Fetches the packages of an upgrade that is shown these lists and told these versions; whether it came to its
/// end.
pub fn download(words: &[String], lists: &[OsString], observer: &mut dyn Observer) -> Result<bool> {
    let program = arguments::download(words, lists);
    let finished = program.run(&mut Refresh {
        reader: acquire::Reader::default(),
        observer,
    })?;
    ensure!(
        finished.succeeded() || finished.ending == Ending::Stopped,
        "{}",
        program.failure(&finished)
    );
    Ok(finished.succeeded())
}

/// One run of `apt-get update`; tried again while somebody else holds apt's lock on its lists.
fn update(observer: &mut dyn Observer) -> Result<(acquire::Reader, bool)> {
    let started = Instant::now();
    let mut wait = lock::Wait::default();
    loop {
        let left = REFRESH_LIMIT.saturating_sub(started.elapsed());
        let program = arguments::update().limit(left.max(Duration::from_secs(1)));
        let mut refresh = Refresh {
            reader: acquire::Reader::default(),
            observer,
        };
        let finished = program.run(&mut refresh)?;
        let Refresh {
            reader,
            observer: again,
        } = refresh;
        match finished.ending {
            Ending::Exited(0) => return Ok((reader, false)),
            Ending::TimedOut => anyhow::bail!(
                "apt-get update was ended after {} s; a source does not answer, or too slowly",
                REFRESH_LIMIT.as_secs(),
            ),
            Ending::Exited(_) => {}
            Ending::Killed(_) | Ending::Stopped => {
                anyhow::bail!("{}", program.failure(&finished))
            }
        }
        let Some(holder) = reader.lock_holder() else {
            return Ok((reader, true));
        };
        ensure!(
            started.elapsed() + lock::RETRY < REFRESH_LIMIT && !again.stop(),
            "{holder}"
        );
        wait.moment(holder, lock::RETRY, again);
    }
}

/// Holds what apt said of a source against what lies on the disk; `failed` says that apt did not exit with 0.
fn confirmed(lists: &Path, heard: &acquire::Heard, targets: &str, failed: bool) -> Source {
    let mut source = heard.source();
    let index = acquire::index_path(lists, &heard.file).map(fs::read);
    let wrong = match index {
        // a directory of packages that has none, and that its administrator trusts: anywhere else, apt fails
        None if !failed && has_target(targets, &source) => None,
        None => Some("its index is not there after the refresh".to_owned()),
        Some(Err(error)) => Some(format!("its index cannot be read: {error}")),
        Some(Ok(bytes)) => {
            let text = String::from_utf8_lossy(&bytes);
            source.index_date = acquire::index_date(&text);
            let sent = heard.sent.as_deref();
            // apt keeps the newer index it has and says nothing (acquire-item.cc; measured)
            source.went_back =
                source.error.is_none() && sent.is_some_and(|sent| sent != checksum::sha256(&bytes));
            if source.went_back {
                Some("it served an index older than the one this host has already seen".to_owned())
            } else if !heard.answered {
                Some("it did not answer".to_owned())
            } else if !has_target(targets, &source) && !acquire::offers_nothing(&text) {
                Some("it has no package index for this host".to_owned())
            } else {
                None
            }
        }
    };
    // what apt itself said is nearer to the cause
    source.error = source.error.or(wrong);
    source
}

fn has_target(targets: &str, source: &Source) -> bool {
    targets.lines().any(|line| {
        let mut fields = line.split('\t');
        let kind = matches!(fields.next(), Some("Packages" | "Sources"));
        let uri = fields.next().map(acquire::redacted);
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        kind && uri.is_some_and(|uri| same(&uri, &source.uri))
            && fields.next() == Some(&source.suite)
    })
}

struct Refresh<'a> {
    reader: acquire::Reader,
    observer: &'a mut dyn Observer,
}

impl Watch for Refresh<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        self.reader.line(text);
        if !acquire::Reader::is_protocol(text) {
            self.observer
                .report(Report::Output(acquire::redacted(text)));
        }
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}
