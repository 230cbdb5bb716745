//! Preconditions: a request that was made against another state of the host changes nothing.

use anyhow::Result;
use chrono::{DateTime, Utc};

use crate::host::clock;
use crate::package::{Database, Pending, Source};
use crate::queue::parked;
use crate::request::{Options, Target};
use crate::state::cache::Cache;
use crate::state::installed::Names;
use crate::state::job::Job;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::job_result::fail;
use crate::worker::model::selection;

/// Jobs, told apart by their preconditions.
pub struct Sorted {
    /// Those that are not to be done now: they are in conflict, or could not be looked into.
    pub aside: Vec<Job>,
    /// The others.
    pub good: Vec<Job>,
}

/// Sets the jobs aside whose preconditions no longer hold. A job that nothing is pending for any more
/// is no conflict: what it wanted is done.
pub fn sort(ctx: &Context, jobs: Vec<Job>) -> Sorted {
    let mut sorted = Sorted {
        aside: Vec::new(),
        good: Vec::new(),
    };
    if !jobs
        .iter()
        .any(|job| job.request.options.has_precondition())
    {
        return Sorted {
            good: jobs,
            ..sorted
        };
    }
    let host = read_host(ctx);
    for mut job in jobs {
        match host.as_ref().map(|host| conflict(&job, host)) {
            Ok(None) => {
                sorted.good.push(job);
                continue;
            }
            Ok(Some(why)) => {
                if let Err(error) = parked::conflict(&ctx.paths, &mut job, &why, clock::now()) {
                    fail(&mut job, &error);
                }
            }
            Err(error) => fail(&mut job, error),
        }
        sorted.aside.push(job);
    }
    sorted
}

/// Fails the jobs that name a package which is not installed, before anything is done for them: nothing else may
/// ever reach a package manager, which would read more into a name than a name. Those jobs, and the others. Where
/// the package database cannot be read, the attempt will say so.
pub fn refuse_unknown(ctx: &Context, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let named = |job: &Job| matches!(job.request.packages, Some(Target::Packages(_)));
    if !jobs.iter().any(named) {
        return (Vec::new(), jobs);
    }
    let Ok(database) = ctx.packages.installed() else {
        return (Vec::new(), jobs);
    };
    let names = Names::of(&database);
    let (mut refused, mut good) = (Vec::new(), Vec::new());
    for mut job in jobs {
        let target = job.request.packages.as_ref();
        match target.map_or(Ok(()), |target| names.judge(target)) {
            // one of which a part is done is judged by what was done
            Err(unknown) if !job.is_done_in_part() => {
                fail(&mut job, &unknown.into());
                refused.push(job);
            }
            _ => good.push(job),
        }
    }
    (refused, good)
}

/// What preconditions are held against.
struct HostState {
    database: Database,
    pending: Pending,
    newest: Option<DateTime<Utc>>,
}

fn read_host(ctx: &Context) -> Result<HostState> {
    let cache = Cache::load(&ctx.paths);
    Ok(HostState {
        database: ctx.packages.installed()?,
        pending: ctx.packages.pending(&cache.failed_sources())?,
        newest: newest(&cache.sources),
    })
}

fn conflict(job: &Job, host: &HostState) -> Option<String> {
    let target = job.request.packages.clone().unwrap_or(Target::All);
    let wanted = host
        .pending
        .updates
        .iter()
        .any(|update| selection::is_covered(&target, update));
    violation(&job.request.options, &host.database, host.newest).filter(|_| wanted)
}

fn newest(sources: &[Source]) -> Option<DateTime<Utc>> {
    sources.iter().filter_map(|source| source.index_date).max()
}

/// Which precondition does not hold: pure.
fn violation(
    options: &Options,
    database: &Database,
    newest: Option<DateTime<Utc>>,
) -> Option<String> {
    for (name, version) in &options.expect {
        let mut of_name = database
            .iter()
            .filter(|(key, _)| name.as_str() == key.package || name.as_str() == key.to_string());
        match of_name.find(|(_, installed)| installed.version != version.as_str()) {
            Some((key, installed)) => {
                let (is, was) = (&installed.version, version.as_str());
                return Some(format!(
                    "{key} is installed in {is}, the request was made for {was}"
                ));
            }
            None if !database
                .keys()
                .any(|key| name.as_str() == key.package || name.as_str() == key.to_string()) =>
            {
                return Some(format!("{name} is not installed any more"));
            }
            None => {}
        }
    }
    let since = options.if_unmodified_since?;
    let Some(date) = newest else {
        return Some(format!(
            "no package source gives the date of its index, and the request was made for the index of {since}"
        ));
    };
    (date > since)
        .then(|| format!("the index is of {date}, the request was made for the one of {since}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Installed, PackageId, PackageState};

    fn violated(options: &str, newest: &str) -> Option<String> {
        let key = PackageId {
            package: "demo".into(),
            architecture: "all".into(),
        };
        let demo = Installed {
            version: "1.0".into(),
            state: PackageState::Good,
            held: false,
            ..Installed::default()
        };
        let options = serde_json::from_str(options).unwrap();
        violation(
            &options,
            &Database::from([(key, demo)]),
            newest.parse().ok(),
        )
    }

    #[test]
    fn what_was_expected_has_to_be_there() {
        let date = "2026-01-02T00:00:00Z";
        assert_eq!(violated(r#"{"expect":{"demo":"1.0"}}"#, date), None);
        assert_eq!(violated(r#"{"expect":{"demo:all":"1.0"}}"#, date), None);
        assert!(
            violated(r#"{"expect":{"demo":"0.9"}}"#, date)
                .unwrap()
                .contains("demo:all")
        );
        assert!(
            violated(r#"{"expect":{"other":"1.0"}}"#, date)
                .unwrap()
                .contains("any more")
        );
        assert_eq!(
            violated(r#"{"if_unmodified_since":"2026-01-02T00:00:00Z"}"#, date),
            None
        );
        assert!(violated(r#"{"if_unmodified_since":"2026-01-01T00:00:00Z"}"#, date).is_some());
        // which cannot be told by an index without a date
        let undated = violated(r#"{"if_unmodified_since":"2026-01-01T00:00:00Z"}"#, "");
        assert!(undated.unwrap().contains("no package source"));
    }
}
