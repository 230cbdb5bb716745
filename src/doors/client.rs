//! The command line's view of the bus: calls the door, shows the answer.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use zbus::fdo;

use super::shown::{print, show, shown_job, shown_status, table, text, texts, warn};
use super::value::{self, Dictionary};
use crate::journal::plain;
use crate::request::{JobId, Target};

/// How long a call may take: `CheckHealth` waits for a refresh.
const CALL_LIMIT: Duration = Duration::from_secs(150);

/// How often a waiting client looks.
const POLL: Duration = Duration::from_millis(100);

/// How long a waiting client goes on when the bus or the door is away, as when either is updated.
const PATIENCE: Duration = Duration::from_secs(60);

#[zbus::proxy(
    interface = "org.linux_patch.Agent1",
    default_service = "org.linux_patch.Agent1",
    default_path = "/org/linux_patch/Agent1"
)]
trait Agent {
    fn check_health(&self) -> fdo::Result<Dictionary>;
    #[zbus(allow_interactive_auth)]
    fn refresh(&self) -> fdo::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn apply(&self, packages: &[String], options: Dictionary) -> fdo::Result<String>;
    fn list_updates(&self) -> fdo::Result<Vec<Dictionary>>;
    fn list_jobs(&self, options: Dictionary) -> fdo::Result<Vec<Dictionary>>;
    fn get_job(&self, job: &str) -> fdo::Result<Dictionary>;
    fn get_job_log(&self, job: &str) -> fdo::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> fdo::Result<u32>;
}

/// The bus or the door cannot be reached.
#[derive(Debug)]
pub struct NotReachable(String);

impl std::fmt::Display for NotReachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}; on a host without systemd or a bus, 'refresh' and 'apply' take --direct",
            self.0
        )
    }
}

impl std::error::Error for NotReachable {}

/// The door has answered, and the answer is no.
#[derive(Debug)]
pub enum Refused {
    /// The caller may not do this.
    NotAuthorised(String),
    /// Not now.
    Busy(String),
    /// The question was wrong.
    Usage(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::NotAuthorised(why) | Self::Busy(why) | Self::Usage(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Refused {}

/// `patchctl status`.
pub fn status(as_json: bool) -> Result<()> {
    let picture = ask(async |agent| agent.check_health().await.map(|p| value::object(&p)))?;
    if as_json {
        print(&serde_json::to_string_pretty(&picture)?)
    } else {
        show(&shown_status(&picture))
    }
}

/// `patchctl health`.
pub fn health(as_json: bool) -> Result<()> {
    let picture = ask(async |agent| agent.check_health().await.map(|p| value::object(&p)))?;
    if !as_json {
        let reasons = texts(&picture, "reasons");
        let mut shown = text(&picture, "status").to_owned();
        for reason in reasons {
            let _ = write!(shown, "\n  {}", plain(reason));
        }
        return show(&shown);
    }
    let mut summary = serde_json::Map::new();
    for key in [
        "status",
        "uptime_seconds",
        "version",
        "last_cache_update",
        "cache_status",
    ] {
        summary.insert(
            key.to_owned(),
            picture.get(key).cloned().unwrap_or(Value::Null),
        );
    }
    print(&serde_json::to_string(&summary)?)
}

/// `patchctl updates`.
pub fn updates(as_json: bool) -> Result<()> {
    let (picture, updates) = ask(async |agent| {
        // waits for a refresh when the index is stale: an old one has nothing to say
        let picture = agent.check_health().await?;
        Ok((value::object(&picture), agent.list_updates().await?))
    })?;
    let updates: Vec<Value> = updates.iter().map(value::object).collect();
    let trust = text(&picture, "cache_status");
    if trust != "fresh" {
        let why = plain(text(&picture, "last_cache_error"));
        warn(&format!("the package index is not fresh ({trust}): {why}"));
    }
    if as_json {
        return print(&serde_json::to_string_pretty(&updates)?);
    }
    if updates.is_empty() {
        return show("nothing is pending");
    }
    let rows: Vec<[String; 4]> = updates
        .iter()
        .map(|update| {
            let security = if update["security"] == Value::Bool(true) {
                " (security)"
            } else {
                ""
            };
            let from = match text(update, "installed") {
                "" => "new",
                version => version,
            };
            [
                format!(
                    "{}:{}",
                    text(update, "package"),
                    text(update, "architecture")
                ),
                from.to_owned(),
                text(update, "candidate").to_owned(),
                format!("{}{security}", text(update, "origin")),
            ]
        })
        .collect();
    show(&table(
        ["PACKAGE", "INSTALLED", "CANDIDATE", "ORIGIN"],
        &rows,
    ))
}

/// `patchctl jobs`.
pub fn jobs(limit: u32, as_json: bool) -> Result<()> {
    let jobs = ask(async |agent| {
        agent
            .list_jobs(Dictionary::from([("limit".to_owned(), limit.into())]))
            .await
    })?;
    let jobs: Vec<Value> = jobs.iter().map(value::object).collect();
    if as_json {
        return print(&serde_json::to_string_pretty(&jobs)?);
    }
    let rows: Vec<[String; 5]> = jobs
        .iter()
        .map(|job| {
            let request = &job["request"];
            [
                text(request, "id").to_owned(),
                text(request, "kind").to_owned(),
                texts(request, "packages").join(" "),
                text(job, "status").to_owned(),
                text(job, "finished_at").chars().take(19).collect(),
            ]
        })
        .collect();
    show(&table(
        ["JOB", "KIND", "PACKAGES", "STATUS", "FINISHED (UTC)"],
        &rows,
    ))
}

/// `patchctl log JOB`.
pub fn log(job: &JobId, as_json: bool) -> Result<()> {
    let record = ask(async |agent| agent.get_job(job.as_str()).await)?;
    let record = value::object(&record);
    if as_json {
        return print(&serde_json::to_string_pretty(&record)?);
    }
    let output = ask(async |agent| agent.get_job_log(job.as_str()).await)?;
    show(&format!("{}\n{}", shown_job(&record), output.trim_end()))
}

/// `patchctl refresh`; whether it succeeded.
pub fn refresh() -> Result<bool> {
    let job = ask(async |agent| agent.refresh().await)?;
    wait(&job)
}

/// `patchctl apply`; whether it succeeded.
pub fn apply(packages: &[String], waiting: bool) -> Result<bool> {
    Target::from_names(packages).map_err(|error| Refused::Usage(format!("{error:#}")))?;
    let job = ask(async |agent| agent.apply(packages, Dictionary::new()).await)?;
    if waiting {
        return wait(&job);
    }
    print(&job)?;
    Ok(true)
}

/// Waits until the job has ended, showing its progress on a terminal.
fn wait(job: &str) -> Result<bool> {
    let bar = ProgressBar::new(100).with_message(job.to_owned());
    bar.set_style(ProgressStyle::with_template(
        "{msg} [{bar:30}] {percent} % {prefix}",
    )?);
    let record = zbus::block_on(async {
        let mut last_seen = std::time::Instant::now();
        loop {
            match look(job).await {
                Ok((record, progress)) => {
                    last_seen = std::time::Instant::now();
                    bar.set_position(u64::from(progress));
                    bar.set_prefix(text(&record["update"], "phase").to_owned());
                    if matches!(
                        text(&record, "status"),
                        "succeeded" | "failed" | "cancelled"
                    ) {
                        return Ok(record);
                    }
                }
                Err(error) if last_seen.elapsed() > PATIENCE => return Err(error),
                // an update of the bus or of this program: both come back
                Err(_) => {}
            }
            std::thread::sleep(POLL);
        }
    });
    bar.finish_and_clear();
    let record = record?;
    show(&shown_job(&record))?;
    Ok(text(&record, "status") == "succeeded")
}

async fn look(job: &str) -> Result<(Value, u32)> {
    let agent = agent().await?;
    let record = agent.get_job(job).await.map_err(from_bus)?;
    let progress = agent.progress().await.unwrap_or(0);
    Ok((value::object(&record), progress))
}

/// One call of the door.
fn ask<T>(call: impl AsyncFnOnce(AgentProxy<'static>) -> fdo::Result<T>) -> Result<T> {
    zbus::block_on(async { call(agent().await?).await.map_err(from_bus) })
}

async fn agent() -> Result<AgentProxy<'static>> {
    let reachable =
        |error: zbus::Error| NotReachable(format!("the system bus is not reachable: {error}"));
    let bus = zbus::connection::Builder::system()
        .method_timeout(CALL_LIMIT)
        .build()
        .await
        .map_err(reachable)?;
    let agent = AgentProxy::builder(&bus)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .context("the bus cannot be used")?;
    Ok(agent)
}

/// What an error of the bus means for the exit code.
fn from_bus(error: fdo::Error) -> anyhow::Error {
    match error {
        fdo::Error::AccessDenied(why) | fdo::Error::InteractiveAuthorizationRequired(why) => {
            Refused::NotAuthorised(why).into()
        }
        fdo::Error::InvalidArgs(why) | fdo::Error::FileNotFound(why) => Refused::Usage(why).into(),
        fdo::Error::LimitsExceeded(why) => Refused::Busy(why).into(),
        fdo::Error::Failed(why) => anyhow::anyhow!("{why}"),
        fdo::Error::ServiceUnknown(why)
        | fdo::Error::NoReply(why)
        | fdo::Error::SpawnChildExited(why)
        | fdo::Error::NameHasNoOwner(why) => {
            NotReachable(format!("the service is not reachable: {why}")).into()
        }
        other => anyhow::anyhow!("{other}"),
    }
}
