//! The command line's view of the bus: calls the door, shows the answer.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::apply_options::{ApplyOptions, Waiting};
use super::render::{self, Table, View, text};
use super::schema::Schema;
use super::session::{Refused, Session};
use super::terminal::{Colours, Terminal};
use super::wait::{self, JobEnd};
use crate::api::value::{self, Dictionary};
use crate::host::clock;
use crate::journal::plain;
use crate::request::{JobId, Remote, Target};
use crate::state::alert::Cause;

/// The command line, talking to this host or another.
pub struct Client {
    pub(super) session: Session,
    pub(super) view: View,
}

impl Client {
    /// For `host` over ssh, or for this one.
    #[must_use]
    pub fn new(host: Option<Remote>, colours: Colours, utc: bool) -> Self {
        let terminal = Terminal::of_output(colours);
        Self {
            session: Session::new(host),
            view: View {
                terminal,
                utc,
                now: clock::now(),
            },
        }
    }

    /// `patchctl status`.
    pub fn status(&self, as_json: bool, cached: bool) -> Result<()> {
        let picture = self.picture_as(cached)?;
        if as_json {
            print_json(picture, Schema::Status)
        } else {
            self.show(&render::status(&picture, &self.view))
        }
    }

    /// `patchctl health`; what it exits with for `--exit-status`: 0 healthy, 1 degraded, 2 unknown.
    pub fn health(&self, as_json: bool, cached: bool) -> Result<u8> {
        let picture = self.picture_as(cached)?;
        if as_json {
            print(&serde_json::to_string(&Schema::Health.only(&picture))?)?;
        } else {
            self.show(&render::health(&picture, &self.view))?;
        }
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
        let picture: Dictionary = self.session.ask_at(&agent, "CheckHealth", &())?;
        let picture = value::object(&picture);
        let updates: Vec<Dictionary> = self.session.ask_at(&agent, "ListUpdates", &())?;
        let updates: Vec<Value> = updates.iter().map(value::object).collect();
        let trust = text(&picture, "cache_status");
        if trust != "fresh" {
            let why = plain(text(&picture, "last_cache_error"));
            warn(&format!("the package index is not fresh ({trust}): {why}"));
        }
        self.show_list(
            &updates,
            as_json.then_some(Schema::Updates),
            "nothing is pending",
            render::updates,
        )
    }

    /// `patchctl plan`.
    pub fn plan(&self, packages: &[String], each: bool, as_json: bool) -> Result<()> {
        check_names(packages)?;
        let plan: Dictionary = self.session.ask("Plan", &(packages, Dictionary::new()))?;
        let plan = value::object(&plan);
        if as_json {
            print_json(plan, Schema::Plan)
        } else {
            self.show(&render::plan(&plan, each, &self.view))
        }
    }

    /// `patchctl jobs`.
    pub fn jobs(&self, limit: u32, as_json: bool) -> Result<()> {
        let jobs = self.pages(limit, &Dictionary::new())?;
        self.show_list(
            &jobs,
            as_json.then_some(Schema::Jobs),
            "no jobs",
            render::jobs,
        )
    }

    /// `patchctl queue`.
    pub fn queue(&self, as_json: bool) -> Result<()> {
        let active = Dictionary::from([("active".to_owned(), true.into())]);
        let jobs = self.pages(u32::MAX, &active)?;
        self.show_list(
            &jobs,
            as_json.then_some(Schema::Jobs),
            "no jobs",
            render::jobs,
        )
    }

    /// `patchctl conflicts`, the oldest first.
    pub fn conflicts(&self, as_json: bool) -> Result<()> {
        let in_conflict = value::dictionary(json!({"status": "conflict"}))?;
        let mut conflicts = self.pages(u32::MAX, &in_conflict)?;
        conflicts.reverse();
        self.show_list(
            &conflicts,
            as_json.then_some(Schema::Jobs),
            "no conflicts",
            render::conflicts,
        )
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
                _ => self.session.ask_at(&agent, "ListJobs", &(options,))?,
            };
            if page.is_empty() {
                return Ok(jobs);
            }
            jobs.extend(page.iter().map(value::object));
        }
    }

    /// `patchctl refresh`.
    pub fn refresh(&self, waiting: Waiting) -> Result<JobEnd> {
        let job: String = self.session.change("Refresh", &())?;
        self.wait(&job, waiting)
    }

    /// `patchctl apply`.
    pub fn apply(
        &self,
        packages: &[String],
        options: &ApplyOptions,
        waiting: Waiting,
    ) -> Result<JobEnd> {
        check_names(packages)?;
        let options = options.dictionary()?;
        let job: String = self.session.change("Apply", &(packages, options))?;
        self.wait(&job, waiting)
    }

    /// `patchctl rollback JOB`.
    pub fn rollback(&self, job: &JobId, partial: bool, waiting: Waiting) -> Result<JobEnd> {
        let options = if partial {
            value::dictionary(serde_json::json!({"partial": true}))?
        } else {
            Dictionary::new()
        };
        let job: String = self.session.change("Rollback", &(job.as_str(), options))?;
        self.wait(&job, waiting)
    }

    /// `patchctl wait JOB`.
    pub fn wait_for(&self, job: &JobId, waiting: Waiting) -> Result<JobEnd> {
        // a host or a job that is not there is told at once
        let _: Dictionary = self.session.ask("GetJob", &(job.as_str(),))?;
        self.wait(job.as_str(), waiting)
    }

    /// `patchctl forget JOB`; it is done when nothing of the job is kept back any more.
    pub fn forget(&self, job: &JobId) -> Result<()> {
        let () = self.session.change("Forget", &(job.as_str(),))?;
        let word = format!("patchctl forget {job}");
        let is_kept = |kept: &Value| text(kept, "reason").contains(&word);
        self.await_picture("it is offered when the jobs that run now are done", |p| {
            !p["kept_back"].as_array().into_iter().flatten().any(is_kept)
        })
    }

    /// `patchctl cancel JOB`; a success only when the job was cancelled.
    pub fn cancel(&self, job: &JobId) -> Result<JobEnd> {
        let () = self.session.change("Cancel", &(job.as_str(),))?;
        let now: Dictionary = self.session.ask("GetJob", &(job.as_str(),))?;
        let now = value::object(&now);
        // a job that is held stays so until a worker has seen the word
        let mut held = ["deferred", "conflict"].into_iter();
        let held = held.find(|held| text(&now, "status") == *held);
        let first = held.unwrap_or_default();
        let record = self.session.wait_beyond(job.as_str(), first, None)?;
        self.show(&render::job(&record, &self.view))?;
        let cancelled = text(&record, "status") == "cancelled";
        Ok(if cancelled {
            JobEnd::Succeeded
        } else {
            JobEnd::Failed
        })
    }

    /// `patchctl resolve JOB`.
    pub fn resolve(&self, job: &JobId, apply: bool) -> Result<JobEnd> {
        let decision = if apply { "apply" } else { "discard" };
        let () = self.session.change("Resolve", &(job.as_str(), decision))?;
        let record = self.session.wait_beyond(job.as_str(), "conflict", None)?;
        self.show(&render::job(&record, &self.view))?;
        let wanted = if apply { "succeeded" } else { "cancelled" };
        Ok(if text(&record, "status") == wanted {
            JobEnd::Succeeded
        } else {
            JobEnd::Failed
        })
    }

    /// `patchctl reboot`; it is done when the host says for when, or that it will not. One that something is in
    /// the way of is deferred.
    pub fn reboot(&self, delay: Duration, cancel: bool) -> Result<JobEnd> {
        let options = if cancel {
            [("cancel".to_owned(), true.into())]
        } else {
            let seconds = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
            [("delay".to_owned(), seconds.into())]
        };
        let order = Dictionary::from(options);
        let () = self.session.change("Reboot", &(order,))?;
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
            return Ok(JobEnd::Succeeded);
        }
        let why = plain(text(&picture, "reboot_waits"));
        let cancel = "'patchctl reboot --cancel' takes it back";
        self.show(&format!(
            "the reboot waits: {why}\nit is asked for again within five minutes; {cancel}"
        ))?;
        Ok(JobEnd::Deferred)
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
        let () = self.session.change("Acknowledge", &(key,))?;
        if stand(&known) == 0 {
            return self.show("there is no such alert");
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
        self.show(later)
    }

    fn wait(&self, job: &str, waiting: Waiting) -> Result<JobEnd> {
        if waiting.no_wait {
            print(job)?;
            return Ok(JobEnd::Succeeded);
        }
        let record = self.session.wait(job, waiting.limit)?;
        let (ended, is_settled) = (JobEnd::of(&record), wait::is_settled(&record));
        if waiting.json {
            print_json(record, Schema::Job)?;
        } else if is_settled {
            self.show(&render::job(&record, &self.view))?;
        }
        if !is_settled {
            warn(&self.session.goes_on(job));
        }
        Ok(ended)
    }

    fn show_list(
        &self,
        records: &[Value],
        as_json: Option<Schema>,
        none: &str,
        table: fn(&[Value], &View) -> Table,
    ) -> Result<()> {
        if let Some(schema) = as_json {
            return print_json(Value::Array(records.to_vec()), schema);
        }
        if records.is_empty() {
            return self.show(none);
        }
        self.show(&table(records, &self.view).shown(&self.view))
    }

    /// Prints for people: whatever an archive or a maintainer script has put into it, a line does nothing
    /// to the terminal.
    pub(super) fn show(&self, text: &str) -> Result<()> {
        print(&self.view.finished(text))
    }
}

fn check_names(packages: &[String]) -> Result<()> {
    let checked = Target::from_names(packages);
    checked
        .map(|_| ())
        .map_err(|error| Refused::Usage(format!("{error:#}")).into())
}

/// Prints for programs: every key of the schema is there.
pub(super) fn print_json(value: Value, schema: Schema) -> Result<()> {
    print(&serde_json::to_string_pretty(&schema.complete(value))?)
}

/// Says something beside the answer.
fn warn(text: &str) {
    use std::io::Write;
    // a closed standard error must not keep the answer back
    let _ = writeln!(std::io::stderr(), "patchctl: {text}");
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
