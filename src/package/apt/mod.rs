//! apt and dpkg.

pub(crate) mod acquire;
mod arguments;
pub(crate) mod database;
mod former;
pub(crate) mod hook;
mod index;
pub(crate) mod listing;
mod locks;
mod marks;
mod repair;
mod run;
mod script;
pub(crate) mod status;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

pub use arguments::APT_GET;

use crate::checksum;
use crate::package::command::{Ending, Line, Process, Watch};
use crate::package::{
    Applied, Change, Database, Ended, Former, Kept, KeptBack, Observer, PackageManager, Pending,
    Refreshed, Report, Restore, Script, Source, Transaction, Update,
};
use crate::sorted;

/// The time a refresh may take, its waiting for apt's lock included.
const REFRESH_LIMIT: Duration = Duration::from_secs(120);

/// How long to wait before asking again for a lock that apt itself does not wait for.
const LOCK_RETRY: Duration = Duration::from_millis(500);

/// apt on this host.
#[derive(Debug)]
pub struct Apt {
    lists: PathBuf,
    dpkg: PathBuf,
    index: index::Index,
    /// Where a view of the lists without the failed sources may be laid out.
    scratch: PathBuf,
}

impl Apt {
    /// apt, with a directory of ours to lay out temporary files in.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        Self {
            lists: "/var/lib/apt/lists".into(),
            dpkg: "/var/lib/dpkg".into(),
            index: index::Index::default(),
            scratch: scratch.into(),
        }
    }

    /// The options that hide the indexes of failed sources: a directory of links to all others.
    fn lists_without(&self, failed: &[&Source]) -> Result<Vec<OsString>> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.scratch.join("apt-lists");
        let lay_out = || -> io::Result<()> {
            if view.exists() {
                fs::remove_dir_all(&view)?;
            }
            fs::create_dir_all(view.join("partial"))?;
            for entry in fs::read_dir(&self.lists)? {
                let entry = entry?;
                let name = entry.file_name();
                let text = name.to_string_lossy();
                let of = |source: &&&Source| {
                    let prefix = source
                        .file
                        .strip_suffix("InRelease")
                        .unwrap_or(&source.file);
                    !prefix.is_empty() && text.starts_with(prefix)
                };
                if entry.file_type()?.is_file() && !failed.iter().any(|source| of(&source)) {
                    std::os::unix::fs::symlink(entry.path(), view.join(&name))?;
                }
            }
            Ok(())
        };
        lay_out().context("failed to lay out the indexes of the good sources")?;
        Ok(arguments::other_lists(&view))
    }

    /// One run of `apt-get update`; tried again while somebody else holds apt's lock on its lists.
    fn update(observer: &mut dyn Observer) -> Result<(acquire::Reader, bool)> {
        let started = Instant::now();
        let mut last_holder = String::new();
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
                started.elapsed() + LOCK_RETRY < REFRESH_LIMIT && !again.stop(),
                "{holder}"
            );
            if last_holder != holder {
                holder.clone_into(&mut last_holder);
                again.report(Report::Waiting(last_holder.clone()));
            }
            std::thread::sleep(LOCK_RETRY);
        }
    }

    /// Holds what apt said of a source against what lies on the disk.
    fn confirmed(&self, heard: &acquire::Heard, targets: &str) -> Source {
        let mut source = heard.source();
        let index = acquire::index_path(&self.lists, &heard.file).map(fs::read);
        let wrong = match index {
            None => Some("its index is not there after the refresh".to_owned()),
            Some(Err(error)) => Some(format!("its index cannot be read: {error}")),
            Some(Ok(bytes)) => {
                let text = String::from_utf8_lossy(&bytes);
                source.index_date = acquire::index_date(&text);
                let sent = heard.sent.as_deref();
                // apt keeps the newer index it has and says nothing (acquire-item.cc; measured)
                source.went_back = source.error.is_none()
                    && sent.is_some_and(|sent| sent != checksum::sha256(&bytes));
                if source.went_back {
                    Some(
                        "it served an index older than the one this host has already seen"
                            .to_owned(),
                    )
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

    fn reasons(&self, kept: &[listing::Kept], lists: &[OsString]) -> Result<Vec<KeptBack>> {
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        let database = self.installed()?;
        let held = |name: &str| {
            let plain = name.split(':').next().unwrap_or(name);
            database
                .iter()
                .any(|(key, installed)| key.package == plain && installed.held)
        };
        let mut unexplained: Vec<&str> = kept
            .iter()
            .filter(|kept| !kept.phased && !held(&kept.package))
            .map(|kept| kept.package.as_str())
            .collect();
        let (mut full, mut phased) = (listing::Listing::default(), Vec::new());
        if !unexplained.is_empty() {
            full = listing::parse(&arguments::simulate_full_upgrade(lists).capture()?)?;
            unexplained.retain(|name| !full.installs(name));
        }
        if !unexplained.is_empty() {
            phased = listing::phased(&arguments::show(&unexplained).capture()?);
        }
        Ok(listing::reasons(kept, &held, &full, &phased))
    }
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

impl PackageManager for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        let (reader, failed) = Self::update(observer)?;
        let (heard, mut errors) = reader.finish(failed);
        if heard.is_empty() && errors.is_empty() {
            errors.push("no package source is configured; see sources.list(5)".to_owned());
        }
        let targets = arguments::index_targets().capture()?;
        let sources: Vec<Source> = heard
            .iter()
            .map(|heard| self.confirmed(heard, &targets))
            .collect();
        if failed && errors.is_empty() && sources.iter().all(|source| source.error.is_none()) {
            errors.push("apt-get update failed without saying why".to_owned());
        }
        let failures = sources
            .iter()
            .filter_map(|source| source.error.as_ref())
            .chain(&errors);
        let offline = failures.clone().next().is_some()
            && failures
                .clone()
                .all(|error| acquire::is_network_error(error));
        Ok(Refreshed {
            sources,
            errors,
            offline,
        })
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        let program = arguments::download(&self.lists_without(failed)?);
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

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        let lists = self.lists_without(failed)?;
        let listing = listing::parse(&arguments::simulate_upgrade(&lists).capture()?)?;
        let mut kept_back = self.reasons(&listing.kept, &lists)?;
        if !failed.is_empty() {
            let all = listing::parse(&arguments::simulate_upgrade(&[]).capture()?)?;
            kept_back.extend(only_from_failed(&all.updates, &listing.updates));
        }
        Ok(Pending {
            updates: listing.updates,
            kept_back,
        })
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        let lists = self.lists_without(failed)?;
        let program = arguments::simulate_install(updates, &lists);
        let mut output = String::new();
        let finished = program.run(&mut |line: Line<'_>| {
            if let Line::Output(text) = line {
                output.push_str(text);
                output.push('\n');
            }
        })?;
        if finished.succeeded() {
            let listing = listing::parse(&output)?;
            return Ok(Pending {
                updates: listing.updates,
                kept_back: Vec::new(),
            });
        }
        // apt 2.6 and 3.0: "Packages need to be removed but remove is disabled."
        let removal = finished
            .errors
            .iter()
            .any(|line| line.contains("remove is disabled"));
        ensure!(removal, "{}", program.failure(&finished));
        let reason = "it would need packages to be removed".to_owned();
        let kept = |u: &Update| KeptBack {
            package: u.package.clone(),
            reason: reason.clone(),
        };
        Ok(Pending {
            updates: Vec::new(),
            kept_back: updates.iter().map(kept).collect(),
        })
    }

    fn installed(&self) -> Result<Database> {
        database::parse(&arguments::query_database().capture()?)
    }

    fn problems(&self) -> Result<Vec<String>> {
        database::problems(&self.dpkg)
    }

    fn is_interrupted(&self) -> Result<bool> {
        database::needs_repair(&self.dpkg)
    }

    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied> {
        let lists = self.lists_without(transaction.failed)?;
        let marks = marks::Marks::read();
        let outcome = run::transaction(transaction, &lists, observer)?;
        marks.restore(transaction.log)?;
        let kept_back = if transaction.failed.is_empty() {
            self.reasons(&outcome.kept, &lists)?
        } else {
            // the run was not shown what only the failed sources have
            self.pending(transaction.failed)?.kept_back
        };
        Ok(Applied {
            ended: outcome.ended,
            kept_back,
            notes: outcome.notes,
            failures: Vec::new(),
        })
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait_until_free(&self.dpkg, observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        repair::run(self, changes, log, observer)
    }

    fn script(&self, process: &Process) -> Option<Script> {
        script::of(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], scratch: &Path) -> Result<Vec<Former>> {
        former::find(&self.index, changes, kept, scratch)
    }

    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        former::put_back(self, restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        hook::parse(input)
    }

    /// apt checks what it downloads, but not what lies in its cache already with the right size
    /// (measured). So only older files are looked at, which costs nothing in the usual case.
    fn remove_damaged(&self, changes: &[Change], since: SystemTime) -> Result<Vec<String>> {
        let since = since
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let since = (
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            i64::from(since.subsec_nanos()),
        );
        let older =
            |file: &Path| fs::metadata(file).is_ok_and(|m| (m.ctime(), m.ctime_nsec()) < since);
        let cached: Vec<_> = changes
            .iter()
            .filter_map(|change| Some((change, change.file.as_deref()?)))
            .filter(|(change, file)| change.to.is_some() && older(file))
            .collect();
        if cached.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.index.of(changes)?;
        let records = answer.whole()?;
        let mut damaged = Vec::new();
        for (change, file) in cached {
            // several sources may carry the same version in different builds
            let records = records.iter();
            let mut known = records
                .filter(|record| index::new_name(change).as_ref() == Some(&record.name))
                .filter_map(|record| record.sha256.as_deref())
                .peekable();
            let actual = checksum::sha256_of_file(file)?;
            if known.peek().is_some() && !known.any(|known| known == actual) {
                fs::remove_file(file)?;
                damaged.push(file.display().to_string());
            }
        }
        Ok(damaged)
    }

    /// Installed-Size of every new version over that of the former one, and, because dpkg unpacks beside
    /// what is there, the largest new one as a whole. `apt-cache show` knows the installed versions, too.
    fn growth(&self, changes: &[Change]) -> Result<u64> {
        let answer = self.index.of(changes)?;
        let records = answer.whole()?;
        let size = |name: Option<String>| {
            let of = |record: &&index::Record| Some(&record.name) == name.as_ref();
            let sizes = records.iter().filter(of).filter_map(|record| record.size);
            sizes.max().unwrap_or(0)
        };
        let (mut growth, mut largest) = (0u64, 0);
        for change in changes {
            let old = size(index::former_name(change));
            let new = size(index::new_name(change));
            growth = growth.saturating_add(new.saturating_sub(old));
            largest = largest.max(new);
        }
        Ok(growth.saturating_add(largest))
    }

    fn reboot_reasons(&self) -> Vec<String> {
        if !Path::new("/run/reboot-required").exists() {
            return Vec::new();
        }
        let packages = fs::read_to_string("/run/reboot-required.pkgs").unwrap_or_default();
        let mut reasons: Vec<String> = packages
            .lines()
            .map(|package| format!("{package} was updated"))
            .collect();
        reasons.dedup();
        if reasons.is_empty() {
            reasons.push("/run/reboot-required is there".to_owned());
        }
        reasons
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        let mut text = String::new();
        for source in failed {
            let _ = write!(text, "{source};");
        }
        let mut add = |path: &Path| {
            if let Ok(m) = fs::metadata(path) {
                let _ = write!(
                    text,
                    "{}:{}:{}:{};",
                    m.ino(),
                    m.size(),
                    m.mtime(),
                    m.mtime_nsec()
                );
            }
        };
        for path in [
            "/etc/apt/sources.list",
            "/etc/apt/sources.list.d",
            "/etc/apt/preferences",
            "/etc/apt/preferences.d",
            "/etc/apt/apt.conf",
            "/etc/apt/apt.conf.d",
        ] {
            add(Path::new(path));
        }
        add(&self.dpkg.join("status"));
        let mut lists: Vec<PathBuf> = fs::read_dir(&self.lists)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        // the dates of the signed files change with every fetch, those of the indexes only when new
        lists.retain(|path| path.to_string_lossy().contains("_Packages"));
        sorted::sort(&mut lists);
        lists.iter().for_each(|path| add(path));
        checksum::sha256(text.as_bytes())
    }
}

/// What would be updated with the failed sources and is not without them.
fn only_from_failed(all: &[Update], good: &[Update]) -> Vec<KeptBack> {
    all.iter()
        .filter(|update| !good.contains(update))
        .map(|update| KeptBack {
            package: update.package.clone(),
            reason: format!(
                "{} comes from a source whose last refresh failed",
                update.candidate
            ),
        })
        .collect()
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
