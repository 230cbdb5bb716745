//! The command line's view of the bus: calls the door, shows the answer.

mod session;
mod show;
mod wait;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

pub use session::{NotReachable, Refused};
pub use wait::Ended;

use self::session::{Session, from_bus};
use self::show::{Table, text, texts};
use super::value::{self, Dictionary};
use crate::journal::plain;
use crate::request::{JobId, Options, RebootPolicy, RestartPolicy, Target};
use crate::sorted::InOrder;
use crate::state::alert::Cause;

/// The command line, talking to this host or another.
pub struct Client {
    session: Session,
}

impl Client {
    /// For `host` over ssh, or for this one.
    #[must_use]
    pub fn new(host: Option<String>) -> Self {
        Self {
            session: Session::new(host),
        }
    }

    /// `patchctl status`.
    pub fn status(&self, as_json: bool, cached: bool) -> Result<()> {
        let picture = self.picture_as(cached)?;
        if as_json {
            print_json(&picture)
        } else {
            show(&show::status(&picture))
        }
    }

    /// `patchctl health`; what it exits with for `--exit-status`: 0 healthy, 1 degraded, 2 unknown.
    pub fn health(&self, as_json: bool, cached: bool) -> Result<u8> {
        let picture = self.picture_as(cached)?;
        show_health(&picture, as_json)?;
        Ok(
            match (text(&picture, "status"), text(&picture, "cache_status")) {
                ("healthy", "unknown") => 2,
                ("healthy", _) => 0,
                ("degraded", _) => 1,
                _ => 2,
            },
        )
    }

    /// `patchctl updates`.
    pub fn updates(&self, as_json: bool) -> Result<()> {
        let agent = self.session.agent()?;
        // waits for a refresh when the index is stale: an old one has nothing to say
        let picture: Dictionary = agent.ask("CheckHealth", &()).map_err(from_bus)?;
        let picture = value::object(&picture);
        let updates: Vec<Dictionary> = agent.ask("ListUpdates", &()).map_err(from_bus)?;
        let updates: Vec<Value> = updates.iter().map(value::object).collect();
        let trust = text(&picture, "cache_status");
        if trust != "fresh" {
            let why = plain(text(&picture, "last_cache_error"));
            warn(&format!("the package index is not fresh ({trust}): {why}"));
        }
        show_list(&updates, as_json, "nothing is pending", show::updates)
    }

    /// `patchctl plan`.
    pub fn plan(&self, packages: &[String], as_json: bool) -> Result<()> {
        check_names(packages)?;
        let plan: Dictionary = self.session.ask("Plan", &(packages, Dictionary::new()))?;
        let plan = value::object(&plan);
        if as_json {
            print_json(&plan)
        } else {
            show(&show::plan(&plan))
        }
    }

    /// `patchctl jobs`.
    pub fn jobs(&self, limit: u32, as_json: bool) -> Result<()> {
        let jobs = self.pages(limit, &Dictionary::new())?;
        show_list(&jobs, as_json, "no jobs", show::jobs)
    }

    /// `patchctl queue`.
    pub fn queue(&self, as_json: bool) -> Result<()> {
        let active = Dictionary::from([("active".to_owned(), true.into())]);
        let jobs = self.pages(u32::MAX, &active)?;
        show_list(&jobs, as_json, "no jobs", show::jobs)
    }

    /// `patchctl conflicts`, the oldest first.
    pub fn conflicts(&self, as_json: bool) -> Result<()> {
        let in_conflict = value::dictionary(json!({"status": "conflict"}))?;
        let mut conflicts = self.pages(u32::MAX, &in_conflict)?;
        conflicts.reverse();
        show_list(&conflicts, as_json, "no conflicts", show::conflicts)
    }

    /// The latest jobs, page by page, newest first.
    fn pages(&self, limit: u32, options: &Dictionary) -> Result<Vec<Value>> {
        let agent = self.session.agent()?;
        let mut jobs: Vec<Value> = Vec::new();
        loop {
            let left = limit.saturating_sub(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
            let mut options = value::object(options);
            if let Some(last) = jobs.last() {
                options["before"] = text(&last["request"], "id").into();
            }
            let mut options = value::dictionary(options)?;
            options.insert("limit".to_owned(), left.into());
            let page: Vec<Dictionary> = match left {
                0 => Vec::new(),
                _ => agent.ask("ListJobs", &(options,)).map_err(from_bus)?,
            };
            if page.is_empty() {
                return Ok(jobs);
            }
            jobs.extend(page.iter().map(value::object));
        }
    }

    /// `patchctl log JOB`.
    pub fn log(&self, job: &JobId, as_json: bool) -> Result<()> {
        let agent = self.session.agent()?;
        let record: Dictionary = agent.ask("GetJob", &(job.as_str(),)).map_err(from_bus)?;
        let record = value::object(&record);
        if as_json {
            return print_json(&record);
        }
        show(&show::job(&record))?;
        let (mut offset, mut begun) = (0, String::new());
        loop {
            let part: (String, u64) = agent
                .ask("ReadJobLog", &(job.as_str(), offset))
                .map_err(from_bus)?;
            if part.0.is_empty() {
                break;
            }
            (begun, offset) = (begun + &part.0, part.1);
            // a line is printed when all of it is there
            if let Some(end) = begun.rfind('\n') {
                show(&begun[..end])?;
                begun.drain(..=end);
            }
        }
        if begun.is_empty() {
            Ok(())
        } else {
            show(&begun)
        }
    }

    /// `patchctl refresh`.
    pub fn refresh(&self) -> Result<Ended> {
        let job: String = self.session.ask("Refresh", &())?;
        self.wait(&job)
    }

    /// `patchctl apply`.
    pub fn apply(&self, packages: &[String], options: &Asked, waiting: bool) -> Result<Ended> {
        check_names(packages)?;
        let options = options.dictionary()?;
        let job: String = self.session.ask("Apply", &(packages, options))?;
        if waiting {
            return self.wait(&job);
        }
        print(&job)?;
        Ok(Ended::Succeeded)
    }

    /// `patchctl rollback JOB`.
    pub fn rollback(&self, job: &JobId, partial: bool, waiting: bool) -> Result<Ended> {
        let options = if partial {
            value::dictionary(serde_json::json!({"partial": true}))?
        } else {
            Dictionary::new()
        };
        let job: String = self.session.ask("Rollback", &(job.as_str(), options))?;
        if waiting {
            return self.wait(&job);
        }
        print(&job)?;
        Ok(Ended::Succeeded)
    }

    /// `patchctl forget JOB`; it is done when nothing of the job is kept back any more.
    pub fn forget(&self, job: &JobId) -> Result<()> {
        let () = self.session.ask("Forget", &(job.as_str(),))?;
        let word = format!("patchctl forget {job}");
        let is_kept = |kept: &Value| text(kept, "reason").contains(&word);
        self.await_picture("it is offered when the jobs that run now are done", |p| {
            !p["kept_back"].as_array().into_iter().flatten().any(is_kept)
        })
    }

    /// `patchctl cancel JOB`; a success only when the job was cancelled.
    pub fn cancel(&self, job: &JobId) -> Result<Ended> {
        let () = self.session.ask("Cancel", &(job.as_str(),))?;
        let now: Dictionary = self.session.ask("GetJob", &(job.as_str(),))?;
        let now = value::object(&now);
        // a job that is held stays so until a worker has seen the word
        let mut held = ["deferred", "conflict"].into_iter();
        let held = held.find(|held| text(&now, "status") == *held);
        let first = held.unwrap_or_default();
        let record = self.session.wait_beyond(job.as_str(), first)?;
        show(&show::job(&record))?;
        let cancelled = text(&record, "status") == "cancelled";
        Ok(if cancelled {
            Ended::Succeeded
        } else {
            Ended::Failed
        })
    }

    /// `patchctl resolve JOB`.
    pub fn resolve(&self, job: &JobId, apply: bool) -> Result<Ended> {
        let decision = if apply { "apply" } else { "discard" };
        let () = self.session.ask("Resolve", &(job.as_str(), decision))?;
        let record = self.session.wait_beyond(job.as_str(), "conflict")?;
        show(&show::job(&record))?;
        let wanted = if apply { "succeeded" } else { "cancelled" };
        Ok(if text(&record, "status") == wanted {
            Ended::Succeeded
        } else {
            Ended::Failed
        })
    }

    /// `patchctl reboot`; it is done when the host says for when, or that it will not. One that something is in
    /// the way of is deferred.
    pub fn reboot(&self, delay: Duration, cancel: bool) -> Result<Ended> {
        let options = if cancel {
            [("cancel".to_owned(), true.into())]
        } else {
            let seconds = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
            [("delay".to_owned(), seconds.into())]
        };
        let order = Dictionary::from(options);
        let () = self.session.ask("Reboot", &(order,))?;
        let later = "the order is followed when the jobs that run now are done";
        let waits = |picture: &Value| !text(picture, "reboot_waits").is_empty();
        let settled = |picture: &Value| {
            let is_scheduled = !text(picture, "scheduled_reboot").is_empty();
            // what an earlier one waits for says nothing of this one while that is queued
            let is_idle = text(picture, "current_job").is_empty() && picture["queue_length"] == 0;
            if cancel {
                !is_scheduled && !waits(picture)
            } else {
                is_scheduled || (is_idle && waits(picture))
            }
        };
        self.await_picture(later, settled)?;
        let picture = self.picture()?;
        if cancel || !waits(&picture) {
            return Ok(Ended::Succeeded);
        }
        let why = plain(text(&picture, "reboot_waits"));
        let cancel = "'patchctl reboot --cancel' takes it back";
        show(&format!(
            "the reboot waits: {why}\nit is asked for again within five minutes; {cancel}"
        ))?;
        Ok(Ended::Deferred)
    }

    /// `patchctl acknowledge KEY`; it is done when the alert is gone.
    pub fn acknowledge(&self, key: &str) -> Result<()> {
        let stand = |picture: &Value| {
            let alerts = picture["alerts"].as_array().into_iter().flatten();
            let ends = |key: &str| key.parse().is_ok_and(Cause::can_be_acknowledged);
            let meant = |alert: &str| alert == key || (key == "all" && ends(alert));
            alerts.filter(|alert| meant(text(alert, "key"))).count()
        };
        let known = self.picture()?;
        let () = self.session.ask("Acknowledge", &(key,))?;
        if stand(&known) == 0 {
            return show("there is no such alert");
        }
        self.await_picture("the alert goes when the jobs that run now are done", |p| {
            stand(p) == 0
        })
    }

    /// What the host knows of itself; a stale index is refreshed first.
    fn picture(&self) -> Result<Value> {
        self.picture_as(false)
    }

    /// The same, or what is known without waiting for anything.
    fn picture_as(&self, cached: bool) -> Result<Value> {
        let method = if cached { "GetHealth" } else { "CheckHealth" };
        let picture: Dictionary = self.session.ask(method, &())?;
        Ok(value::object(&picture))
    }

    /// Waits until the picture is as it was asked to be; a worker with a long job in its hands may come to
    /// it only later, and then somebody is told so.
    fn await_picture(&self, later: &str, done: impl Fn(&Value) -> bool) -> Result<()> {
        for _ in 0..100 {
            if done(&self.picture()?) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        show(later)
    }

    fn wait(&self, job: &str) -> Result<Ended> {
        let record = self.session.wait(job)?;
        show(&show::job(&record))?;
        Ok(Ended::of(&record))
    }
}

fn show_health(picture: &Value, as_json: bool) -> Result<()> {
    if !as_json {
        let mut shown = text(picture, "status").to_owned();
        for reason in texts(picture, "reasons") {
            let _ = write!(shown, "\n  {}", plain(reason));
        }
        if text(picture, "cache_status") == "unknown" {
            shown.push_str("\n  the package index was never refreshed");
        }
        return show(&shown);
    }
    let keys = [
        "status",
        "uptime_seconds",
        "version",
        "last_cache_update",
        "cache_status",
    ];
    let value = |key: &str| picture.get(key).cloned().unwrap_or(Value::Null);
    let summary: serde_json::Map<_, _> = keys
        .iter()
        .map(|key| ((*key).to_owned(), value(key)))
        .in_order();
    print(&serde_json::to_string(&summary)?)
}

/// The options of `patchctl apply`, as given.
#[derive(Debug, Default)]
pub struct Asked {
    /// `--defer`
    pub defer: bool,
    /// `--expect`
    pub expect: Vec<(String, String)>,
    /// `--if-unmodified-since`
    pub if_unmodified_since: Option<DateTime<Utc>>,
    /// `--key`
    pub key: Option<String>,
    /// `--reboot`
    pub reboot: Option<RebootPolicy>,
    /// `--restart`
    pub restart: Option<RestartPolicy>,
}

impl Asked {
    /// The options as the door takes them; what it would refuse is refused here, with a usage error.
    fn dictionary(&self) -> Result<Dictionary> {
        let expect: serde_json::Map<_, _> = self
            .expect
            .iter()
            .map(|(p, v)| (p.clone(), Value::from(v.as_str())))
            .in_order();
        let since = self
            .if_unmodified_since
            .map(|t| t.to_rfc3339_opts(SecondsFormat::Nanos, true));
        let mut options = json!({ "expect": expect, "idempotency_key": self.key });
        if self.defer {
            options["wait_for_network"] = true.into();
        }
        if let Some(reboot) = self.reboot {
            options["reboot"] = serde_json::to_value(reboot)?;
        }
        if let Some(restart) = self.restart {
            options["restart"] = serde_json::to_value(restart)?;
        }
        if let Some(since) = since {
            options["if_unmodified_since"] = since.into();
        }
        serde_json::from_value::<Options>(options.clone())
            .map_err(|error| Refused::Usage(error.to_string()))?;
        value::dictionary(options)
    }
}

fn check_names(packages: &[String]) -> Result<()> {
    let checked = Target::from_names(packages);
    checked
        .map(|_| ())
        .map_err(|error| Refused::Usage(format!("{error:#}")).into())
}

fn show_list(
    records: &[Value],
    as_json: bool,
    none: &str,
    table: fn(&[Value]) -> Table,
) -> Result<()> {
    if as_json {
        return print_json(&Value::Array(records.to_vec()));
    }
    if records.is_empty() {
        show(none)
    } else {
        show(&table(records).to_string())
    }
}

fn print_json(value: &Value) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Says something beside the answer.
fn warn(text: &str) {
    use std::io::Write;
    // a closed standard error must not keep the answer back
    let _ = writeln!(std::io::stderr(), "patchctl: {text}");
}

/// Prints for people: whatever an archive or a maintainer script has put into it, a line does nothing
/// to the terminal.
fn show(text: &str) -> Result<()> {
    print(&text.lines().map(plain).collect::<Vec<_>>().join("\n"))
}

/// Prints for people or programs; a reader that has seen enough is no error.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => bail!("failed to write to standard output: {error}"),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_the_door_and_bad_ones_do_not() {
        let asked = Asked {
            defer: true,
            expect: vec![("demo".into(), "1.0".into())],
            if_unmodified_since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            key: Some("k".into()),
            reboot: Some(RebootPolicy::WhenNeeded),
            restart: Some(RestartPolicy::Safe),
        };
        let given = value::object(&asked.dictionary().unwrap());
        let parsed: Options = serde_json::from_value(given).unwrap();
        assert_eq!(parsed.reboot, Some(RebootPolicy::WhenNeeded));
        assert!(parsed.wait_for_network && parsed.expect.len() == 1);
        assert_eq!(parsed.if_unmodified_since, asked.if_unmodified_since);
        let bad = Asked {
            key: Some("a b".into()),
            ..Asked::default()
        };
        assert!(bad.dictionary().unwrap_err().is::<Refused>());
        assert!(Asked::default().dictionary().is_ok());
    }
}
