//! Refreshing the index, and what the host remembers of it.

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};

use crate::host::clock::{self, Moment};
use crate::host::systemd;
use crate::package::{Pending, RefreshReport, Source};
use crate::request::JobId;
use crate::state::alert::Cause;
use crate::state::cache::Cache;
use crate::state::pending::PendingList;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::errors::RefreshFailed;
use crate::worker::bookkeeping::{alerts, blocked};
use crate::worker::monitor::observer::Monitor;
use crate::worker::steps::foreign_shutdown;
use crate::{journal, queue};

/// Refreshes the index of every source, for a job where there is one. Before every apply, always.
pub fn run(ctx: &Context, job: Option<&JobId>) -> Result<()> {
    let result = attempt(ctx, job);
    alerts::refreshed(ctx, &result);
    result
}

fn attempt(ctx: &Context, job: Option<&JobId>) -> Result<()> {
    systemd::status("refreshing the package index");
    let known = Cache::load(&ctx.paths);
    let answer = ctx.packages.refresh(&mut Monitor::refresh(ctx, job));
    if answer.is_err() && ctx.stopping() {
        // it says nothing of the sources, and leaves what is known of them as it was
        bail!("the refresh was stopped on request");
    }
    let refreshed = answer.unwrap_or_else(|error| RefreshReport {
        errors: vec![format!("{error:#}")],
        ..RefreshReport::default()
    });
    let offline = refreshed.offline;
    let cache = judge(
        &known,
        refreshed,
        &ctx.config.tolerate,
        clock::now(),
        Moment::now(),
    );
    report(&cache);
    cache.save(&ctx.paths)?;
    match cache.last_error {
        None => {
            // jobs that waited for the network are tried again
            queue::parked::release(&ctx.paths, foreign_shutdown::keeps_back(ctx))?;
            Ok(())
        }
        Some(why) => Err(RefreshFailed { why, offline }.into()),
    }
}

/// Works out what is pending, unless nothing has changed since that was last done. That it cannot be done is a
/// reason in the health, until it can.
pub fn list_pending(ctx: &Context) -> Result<()> {
    let result = look_up_pending(ctx);
    if let Err(error) = &result {
        not_listed(ctx, error)?;
    }
    result
}

/// Keeps why what is pending could not be listed.
fn not_listed(ctx: &Context, error: &anyhow::Error) -> Result<()> {
    let mut cache = Cache::load(&ctx.paths);
    cache.list_error = Some(format!("{error:#}"));
    cache.save(&ctx.paths)?;
    let text = cache.not_listed().unwrap_or_default();
    alerts::raise(ctx, Cause::RefreshFailing, &text, None);
    Ok(())
}

/// What is pending was listed.
pub fn listed(ctx: &Context) -> Result<()> {
    let mut cache = Cache::load(&ctx.paths);
    if cache.list_error.take().is_some() {
        cache.save(&ctx.paths)?;
        if cache.last_update_success {
            alerts::resolve(ctx, Cause::RefreshFailing);
        }
    }
    Ok(())
}

fn look_up_pending(ctx: &Context) -> Result<()> {
    let cache = Cache::load(&ctx.paths);
    let failed = cache.failed_sources();
    let fingerprint = ctx.packages.fingerprint(&failed);
    if PendingList::load(&ctx.paths).is_some_and(|list| list.is_for(&fingerprint)) {
        return listed(ctx);
    }
    pending(ctx, &failed).map(drop)
}

/// Works out what is pending, and writes it down.
pub fn pending(ctx: &Context, failed: &[&Source]) -> Result<Pending> {
    systemd::status("listing pending updates");
    let list = PendingList {
        computed_at: Some(clock::now()),
        fingerprint: Some(ctx.packages.fingerprint(failed)),
        pending: blocked::offered(ctx, ctx.packages.pending(failed)?)?,
        ..PendingList::default()
    };
    let list = list.save(&ctx.paths)?;
    listed(ctx)?;
    Ok(list.pending)
}

/// What the refresh means, given what was known: pure.
fn judge(
    known: &Cache,
    refreshed: RefreshReport,
    tolerate: &[String],
    now: DateTime<Utc>,
    moment: Moment,
) -> Cache {
    let sources: Vec<Source> = if refreshed.sources.is_empty() {
        known.sources.clone()
    } else {
        let merge = |source| merged(known, source, tolerate, now);
        refreshed.sources.into_iter().map(merge).collect()
    };
    let mut errors = refreshed.errors;
    let fatal = |source: &&Source| source.error.is_some() && !source.tolerated;
    if errors.is_empty() {
        errors.extend(sources.iter().filter(fatal).filter_map(|source| {
            source
                .error
                .as_ref()
                .map(|error| format!("{source}: {error}"))
        }));
    }
    if errors.is_empty() && !sources.is_empty() && sources.iter().all(|s| s.error.is_some()) {
        errors.push("every source failed, also those that are tolerated".to_owned());
    }
    let last_error = (!errors.is_empty()).then(|| errors.join("; "));
    let succeeded = last_error.is_none();
    Cache {
        last_cache_update: if succeeded {
            Some(now)
        } else {
            known.last_cache_update
        },
        refreshed: if succeeded {
            Some(moment.clone())
        } else {
            known.refreshed.clone()
        },
        last_update_success: succeeded,
        last_attempt: Some(now),
        attempted: Some(moment),
        last_error,
        notes: refreshed.notes,
        list_error: known.list_error.clone(),
        sources,
    }
}

/// A source as it answered, with what was known of it before. Its newest date is kept: an index that
/// is older than one seen before is that of a stale mirror, or of an attacker who hides updates.
fn merged(known: &Cache, mut source: Source, tolerate: &[String], now: DateTime<Utc>) -> Source {
    let before = known
        .sources
        .iter()
        .find(|s| s.uri == source.uri && s.suite == source.suite);
    let newest = before.and_then(|before| before.index_date);
    if let (Some(newest), Some(date), None) = (newest, source.index_date, &source.error)
        && date < newest
    {
        source.error = Some(format!("its index went back from {newest} to {date}"));
        source.went_back = true;
    }
    source.index_date = source.index_date.max(newest);
    source.tolerated |= tolerate.iter().any(|host| host == source.host());
    source.last_success = match source.error {
        None => Some(now),
        Some(_) => before.and_then(|before| before.last_success),
    };
    source
}

fn report(cache: &Cache) {
    for source in &cache.sources {
        let Some(error) = &source.error else { continue };
        if source.went_back {
            journal::index_went_back(&source.to_string(), error);
        } else {
            journal::source_failed(&source.to_string(), error, source.tolerated);
        }
    }
    cache
        .notes
        .iter()
        .for_each(|note| journal::refresh_note(note));
    match &cache.last_error {
        None => journal::refresh_succeeded(cache.sources.len()),
        Some(why) => journal::refresh_failed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, error: Option<&str>, day: u32) -> Source {
        Source {
            uri: uri.to_owned(),
            suite: "stable".to_owned(),
            last_success: None,
            index_date: Some(date(day)),
            error: error.map(str::to_owned),
            went_back: false,
            tolerated: false,
            file: String::new(),
        }
    }

    fn date(day: u32) -> DateTime<Utc> {
        format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn after(known: &Cache, sources: Vec<Source>, tolerate: &[&str]) -> Cache {
        let tolerate: Vec<String> = tolerate.iter().map(ToString::to_string).collect();
        let refreshed = RefreshReport {
            sources,
            ..RefreshReport::default()
        };
        judge(known, refreshed, &tolerate, date(20), Moment::now())
    }

    #[test]
    fn one_dead_source_fails_the_refresh_and_moves_no_date() {
        let good = after(&Cache::default(), vec![source("http://a/", None, 1)], &[]);
        assert!(good.last_update_success);
        let both = vec![
            source("http://a/", None, 1),
            source("http://b/", Some("404"), 1),
        ];
        let bad = judge(
            &good,
            RefreshReport {
                sources: both.clone(),
                ..RefreshReport::default()
            },
            &[],
            date(21),
            Moment::now(),
        );
        assert!(!bad.last_update_success);
        assert_eq!(bad.last_cache_update, Some(date(20)));
        assert_eq!(bad.last_error.as_deref(), Some("http://b/ stable: 404"));
        let tolerated = after(&good, both, &["b"]);
        assert!(tolerated.last_update_success);
        assert_eq!(tolerated.failed_sources().len(), 1);
    }

    #[test]
    fn tolerating_everything_is_no_success() {
        let cache = after(
            &Cache::default(),
            vec![source("http://a/", Some("x"), 1)],
            &["a"],
        );
        assert!(!cache.last_update_success);
        assert_eq!(cache.last_cache_update, None);
    }

    #[test]
    fn an_index_that_goes_back_is_an_error_and_its_newest_date_stays() {
        let known = after(&Cache::default(), vec![source("http://a/", None, 10)], &[]);
        let back = after(&known, vec![source("http://a/", None, 9)], &[]);
        assert!(back.last_error.as_deref().unwrap().contains("went back"));
        assert_eq!(back.sources[0].index_date, Some(date(10)));
        assert_eq!(back.sources[0].last_success, Some(date(20)));
        let again = after(&back, vec![source("http://a/", None, 10)], &[]);
        assert!(again.last_update_success);
    }

    #[test]
    fn a_run_that_failed_as_a_whole_keeps_what_is_known_of_the_sources() {
        let known = after(&Cache::default(), vec![source("http://a/", None, 10)], &[]);
        let refreshed = RefreshReport {
            errors: vec!["timeout".into()],
            ..RefreshReport::default()
        };
        let cache = judge(&known, refreshed, &[], date(22), Moment::now());
        assert_eq!(cache.sources, known.sources);
        assert_eq!(cache.last_error.as_deref(), Some("timeout"));
    }
}
