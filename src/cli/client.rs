//! The command line's view of the bus: calls the service and shows the answer.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::answers::{Answer, JobAnswer, KeptBackAnswer, StatusAnswer, read};
use super::apply_options::{ApplyOptions, Waiting};
use super::render::{self, Table, View};
use super::schema::Schema;
use super::session::{Refused, Session};
use super::terminal::{Colours, Terminal};
use super::wait::JobEnd;
use super::word::Word;
use crate::api::value::{self, Dictionary};
use crate::health::Health;
use crate::host::clock;
use crate::journal::plain;
use crate::request::{JobId, Remote, Target};
use crate::state::alert::Cause;
use crate::state::cache::CacheStatus;
use crate::state::job::JobStatus;

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
        let status = self.status_json(cached)?;
        if as_json {
            print_json(status, Schema::Status)
        } else {
            self.show(&render::status(&read(&status)?, &self.view))
        }
    }

    /// `patchctl health`; what it exits with for `--exit-status`: 0 healthy, 1 degraded, 2 unknown.
    pub fn health(&self, as_json: bool, cached: bool) -> Result<u8> {
        let json = self.status_json(cached)?;
        let status: StatusAnswer = read(&json)?;
        if as_json {
            print(&serde_json::to_string(&Schema::Health.only(&json))?)?;
        } else {
            self.show(&render::health(&status, &self.view))?;
        }
        let never = status.cache_status == Word::Known(CacheStatus::Unknown);
        Ok(match status.status {
            Word::Known(Health::Healthy) if !never => 0,
            Word::Known(Health::Degraded) => 1,
            _ => 2,
        })
    }

    /// `patchctl updates`.
    pub fn updates(&self, as_json: bool) -> Result<()> {
        let agent = self.session.agent()?;
        // waits for a refresh when the index is stale: an old one has nothing to say
        let status: Dictionary = self.session.ask_at(&agent, "CheckHealth", &())?;
        let status: StatusAnswer = read(&value::object(&status))?;
        let updates: Vec<Dictionary> = self.session.ask_at(&agent, "ListUpdates", &())?;
        let updates: Vec<Value> = updates.iter().map(value::object).collect();
        let trust = &status.cache_status;
        if *trust != Word::Known(CacheStatus::Fresh) {
            let why = plain(&status.last_cache_error);
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
            self.show(&render::plan(&read(&plan)?, each, &self.view))
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
                options["before"] = read::<JobAnswer>(last)?.request.id.into();
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
        // a missing host or job is reported at once
        let _: Dictionary = self.session.ask("GetJob", &(job.as_str(),))?;
        self.wait(job.as_str(), waiting)
    }

    /// `patchctl forget JOB`; it is done when nothing of the job is kept back any more.
    pub fn forget(&self, job: &JobId) -> Result<()> {
        let () = self.session.change("Forget", &(job.as_str(),))?;
        let word = format!("patchctl forget {job}");
        let is_kept = |kept: &KeptBackAnswer| kept.reason.contains(&word);
        self.await_status(
            "it is offered again when the running jobs have ended",
            |host| !host.kept_back.iter().any(is_kept),
        )
    }

    /// `patchctl cancel JOB`; a success only when the job was cancelled.
    pub fn cancel(&self, job: &JobId) -> Result<JobEnd> {
        let () = self.session.change("Cancel", &(job.as_str(),))?;
        let status = self.record(job)?.job.status;
        // a parked job keeps its status until a worker has read the decision
        let mut parked = [JobStatus::Deferred, JobStatus::Conflict].into_iter();
        let first = parked.find(|parked| status == Word::Known(*parked));
        self.wait_for_status(job, first, JobStatus::Cancelled)
    }

    /// `patchctl resolve JOB`.
    pub fn resolve(&self, job: &JobId, apply: bool) -> Result<JobEnd> {
        let decision = if apply { "apply" } else { "discard" };
        let () = self.session.change("Resolve", &(job.as_str(), decision))?;
        let wanted = if apply {
            JobStatus::Succeeded
        } else {
            JobStatus::Cancelled
        };
        self.wait_for_status(job, Some(JobStatus::Conflict), wanted)
    }

    /// Waits until the job has left the status `first`, and shows its record; a success where it ends as `wanted`.
    fn wait_for_status(
        &self,
        job: &JobId,
        first: Option<JobStatus>,
        wanted: JobStatus,
    ) -> Result<JobEnd> {
        let record = self.session.wait_beyond(job.as_str(), first, None)?;
        self.show(&render::job(&record.job, &self.view))?;
        Ok(if record.job.status == Word::Known(wanted) {
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
        let later = "the command takes effect when the running jobs have ended";
        let waits = |host: &StatusAnswer| !host.reboot_waits.is_empty();
        let settled = |host: &StatusAnswer| {
            let is_scheduled = host.scheduled_reboot.is_some();
            // what an earlier one waits for says nothing of this one while that is queued
            let is_idle = host.current_job.is_empty() && host.queue_length == 0;
            if cancel {
                !is_scheduled && !waits(host)
            } else {
                is_scheduled || (is_idle && waits(host))
            }
        };
        self.await_status(later, settled)?;
        let host = self.host_status()?;
        if cancel || !waits(&host) {
            return Ok(JobEnd::Succeeded);
        }
        let why = plain(&host.reboot_waits);
        let cancel = "'patchctl reboot --cancel' takes it back";
        self.show(&format!(
            "the reboot waits: {why}\nit is asked for again within five minutes; {cancel}"
        ))?;
        Ok(JobEnd::Deferred)
    }

    /// `patchctl acknowledge KEY`; it is done when the alert is gone.
    pub fn acknowledge(&self, key: &str) -> Result<()> {
        let stand = |host: &StatusAnswer| {
            let ends = |key: &str| key.parse().is_ok_and(Cause::can_be_acknowledged);
            let meant = |alert: &str| alert == key || (key == "all" && ends(alert));
            host.alerts.iter().filter(|alert| meant(&alert.key)).count()
        };
        let known = self.host_status()?;
        let () = self.session.change("Acknowledge", &(key,))?;
        if stand(&known) == 0 {
            return self.show("there is no such alert");
        }
        self.await_status("the alert ends when the running jobs have ended", |host| {
            stand(host) == 0
        })
    }

    /// The status of the host; the service refreshes a stale index first.
    fn host_status(&self) -> Result<StatusAnswer> {
        read(&self.status_json(false)?)
    }

    /// The same as the service gives it; with `cached` what it knows already, without a refresh.
    fn status_json(&self, cached: bool) -> Result<Value> {
        let method = if cached { "GetHealth" } else { "CheckHealth" };
        let status: Dictionary = self.session.ask(method, &())?;
        Ok(value::object(&status))
    }

    /// Waits up to ten seconds until the host is as it was asked to be; a worker with a long job may come to that only
    /// later, which `later` says then.
    fn await_status(&self, later: &str, done: impl Fn(&StatusAnswer) -> bool) -> Result<()> {
        for _ in 0..100 {
            if done(&self.host_status()?) {
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
        let (ended, is_settled) = (JobEnd::of(&record.job), record.is_settled());
        if waiting.json {
            print_json(record.json, Schema::Job)?;
        } else if is_settled {
            self.show(&render::job(&record.job, &self.view))?;
        }
        if !is_settled {
            warn(&self.session.goes_on(job));
        }
        Ok(ended)
    }

    fn show_list<T: Answer>(
        &self,
        records: &[Value],
        as_json: Option<Schema>,
        none: &str,
        table: fn(&[T], &View) -> Table,
    ) -> Result<()> {
        if let Some(schema) = as_json {
            return print_json(Value::Array(records.to_vec()), schema);
        }
        if records.is_empty() {
            return self.show(none);
        }
        let records: Vec<T> = records.iter().map(read).collect::<Result<_>>()?;
        self.show(&table(&records, &self.view).shown(&self.view))
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

/// Prints a message on standard error, apart from the answer.
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
