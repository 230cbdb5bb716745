//! patchctl: the map from a verb to its function, and from an error to its exit code.
//!
//! A request's way: `cli` or `api` → `request` → `queue` → `worker` → `package` → `state` and
//! `journal`. `ARCHITECTURE.md` lists the rooms and which may call which.

use std::io::{BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use clap::Parser;
use linux_patch_api::api::{dbus, own_login, varlink};
use linux_patch_api::cli::args::{Patience, Run, Verb};
use linux_patch_api::cli::{
    ApplyOptions, Cli, Client, Colours, JobEnd, NotReachable, Refused, Waiting,
};
use linux_patch_api::config::Config;
use linux_patch_api::exec;
use linux_patch_api::host::systemd;
use linux_patch_api::paths::Paths;
use linux_patch_api::request::{JobId, Requester, Target};
use linux_patch_api::state::installed::NotInstalled;
use linux_patch_api::state::job::{Job, JobStatus};
use linux_patch_api::worker::{
    RefreshFailed, Worker, alert_hooks, answer_inquiries, answer_left_inquiries, gate, rollback,
};
use linux_patch_api::{journal, package};
use rustix::process::getuid;

/// Wrong arguments; the parser of the arguments exits with the same.
const USAGE: u8 = 2;

/// sysexits.h: `EX_UNAVAILABLE`, `EX_TEMPFAIL`, `EX_NOPERM`; those of the design.
const UNREACHABLE: u8 = 69;
const BUSY: u8 = 75;
const NOT_AUTHORISED: u8 = 77;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(cli) {
        Ok(code) => code,
        Err(error) => {
            // a closed standard error must not turn an error into a crash
            let _ = writeln!(
                std::io::stderr(),
                "patchctl: {}",
                journal::plain(&format!("{error:#}"))
            );
            ExitCode::from(code_of(&error))
        }
    }
}

fn act(cli: Cli) -> Result<ExitCode> {
    let colours = match cli.color.as_str() {
        "always" => Colours::Always,
        "never" => Colours::Never,
        _ => Colours::Auto,
    };
    let client = Client::new(cli.host, colours, cli.utc);
    match cli.verb {
        Verb::Refresh { direct: true, .. } => direct()?.refresh()?,
        Verb::Apply {
            packages,
            direct: true,
            ..
        } => return apply_directly(&packages),
        Verb::Run(run) => return act_as_unit(run),
        Verb::Health {
            json,
            cached,
            exit_status,
        } => {
            let code = client.health(json, cached)?;
            return Ok(ExitCode::from(if exit_status { code } else { 0 }));
        }
        Verb::Status { json, cached } => client.status(json, cached)?,
        Verb::Updates { json } => client.updates(json)?,
        Verb::Plan {
            packages,
            kept_back,
            json,
        } => client.plan(&packages, kept_back, json)?,
        Verb::Jobs { limit, json } => client.jobs(limit, json)?,
        Verb::Queue { json } => client.queue(json)?,
        Verb::Conflicts { json } => client.conflicts(json)?,
        Verb::Log {
            job,
            json,
            follow: false,
        } => client.log(&job, json)?,
        Verb::Forget { job } => client.forget(&job)?,
        Verb::Acknowledge { key } => client.acknowledge(&key)?,
        change => return ask_and_wait(&client, change).map(outcome),
    }
    Ok(ExitCode::SUCCESS)
}

/// The verbs that end as the job or the reboot does that they ask for.
fn ask_and_wait(client: &Client, verb: Verb) -> Result<JobEnd> {
    match verb {
        Verb::Log { job, .. } => client.follow_log(&job),
        Verb::Wait { job, patience } => client.wait_for(&job, waiting(patience, false)),
        Verb::Refresh { patience, .. } => client.refresh(waiting(patience, false)),
        Verb::Apply {
            packages,
            no_wait,
            patience,
            defer,
            expect,
            if_unmodified_since,
            key,
            reboot,
            restart,
            ..
        } => {
            let options = ApplyOptions {
                defer,
                expect,
                if_unmodified_since,
                key,
                reboot,
                restart,
            };
            client.apply(&packages, &options, waiting(patience, no_wait))
        }
        Verb::Cancel { job } => client.cancel(&job),
        Verb::Resolve { job, apply, .. } => client.resolve(&job, apply),
        Verb::Rollback {
            job,
            partial,
            no_wait,
            patience,
            ..
        } => client.rollback(&job, partial, waiting(patience, no_wait)),
        Verb::Reboot { delay, cancel } => client.reboot(delay, cancel),
        other => bail!("{other:?} is answered without waiting"),
    }
}

/// `patchctl apply --direct`: in this process.
fn apply_directly(packages: &[String]) -> Result<ExitCode> {
    let target =
        Target::from_names(packages).map_err(|error| Refused::Usage(format!("{error:#}")))?;
    let requester = Requester::at("direct", Some(getuid().as_raw()));
    let requester = requester.of_login(own_login());
    Ok(report(&direct()?.apply(target, requester)?))
}

fn waiting(patience: Patience, no_wait: bool) -> Waiting {
    Waiting {
        no_wait,
        limit: patience.timeout,
        json: patience.json,
    }
}

/// Errors already logged as journal events are not printed again: standard error also goes to the journal.
fn act_as_unit(run: Run) -> Result<ExitCode> {
    if !matches!(run, Run::Leashed { .. }) {
        journal::init(false);
    }
    run_unit(run).or_else(|error| {
        if error.is::<RefreshFailed>() {
            Ok(ExitCode::FAILURE)
        } else {
            Err(error)
        }
    })
}

fn run_unit(run: Run) -> Result<ExitCode> {
    match run {
        Run::Refresh => worker()?.refresh()?,
        Run::Apply { instance } => {
            let target = match Target::from_instance(instance.as_bytes()) {
                Ok(target) => target,
                Err(error) => {
                    journal::request_refused("the request", &format!("{error:#}"));
                    return Ok(ExitCode::from(USAGE));
                }
            };
            let applied = worker()?.apply(target, Requester::at("systemd", Some(0)));
            return match applied {
                Err(error) if error.is::<NotInstalled>() => {
                    journal::request_refused("the request", &format!("{error:#}"));
                    systemd::status(&format!("refused: {error:#}"));
                    Ok(ExitCode::from(USAGE))
                }
                applied => Ok(report(&applied?)),
            };
        }
        Run::Drain => {
            let drained = worker()?.drain();
            if let Err(error) = answer_left_inquiries(&Paths::default()) {
                tracing::warn!("questions left by the planner were not answered: {error:#}");
            }
            drained?;
        }
        Run::Plan => answer_inquiries(&Paths::default())?,
        Run::Retry => worker()?.retry()?,
        Run::Alert { instance } => {
            alert_hooks::run(&Paths::default(), &instance, &alert_hooks::monitored())?;
        }
        Run::Agent { idle } => dbus::serve(Paths::default(), idle)?,
        Run::Varlink => varlink::serve(Paths::default())?,
        Run::Gate { job, back } => open_gate(&job, back)?,
        Run::Leashed { parent, program } => {
            return exec::run_guarded(parent, &program).map(ExitCode::from);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The worker of a unit or of `--direct`: asked to stop by a signal, it ends when that is safe.
fn worker() -> Result<Worker> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("failed to prepare for a signal")?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(Worker::new(Paths::default(), stop))
}

fn direct() -> Result<Worker> {
    if !getuid().is_root() {
        let why = "--direct changes packages in this process and needs root";
        bail!(Refused::NotAuthorised(why.to_owned()));
    }
    journal::init(true);
    Ok(worker()?.on_terminal())
}

fn open_gate(job: &JobId, back: Option<u32>) -> Result<()> {
    let paths = Paths::default();
    let packages = package::detect(&Config::load(&paths)?, &paths.run())?;
    let (packages, input) = (packages.as_ref(), &mut BufReader::new(std::io::stdin()));
    match back {
        None => gate::run(&paths, packages, job, input),
        Some(attempt) => rollback::gate(&paths, packages, job, attempt, input),
    }
}

/// Leaves the job's result where `systemctl status` shows it; the exit code.
fn report(job: &Job) -> ExitCode {
    systemd::status(&format!("job {}: {}", job.id(), job.summary()));
    outcome(match job.status {
        JobStatus::Succeeded => JobEnd::Succeeded,
        JobStatus::Deferred => JobEnd::Deferred,
        _ => JobEnd::Failed,
    })
}

fn outcome(ended: JobEnd) -> ExitCode {
    match ended {
        JobEnd::Succeeded => ExitCode::SUCCESS,
        JobEnd::Failed => ExitCode::FAILURE,
        JobEnd::Deferred => ExitCode::from(BUSY),
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<NotReachable>() {
        return UNREACHABLE;
    }
    if error.is::<NotInstalled>() {
        return USAGE;
    }
    match error.downcast_ref::<Refused>() {
        Some(Refused::NotAuthorised(_)) => NOT_AUTHORISED,
        Some(Refused::Busy(_)) => BUSY,
        Some(Refused::Usage(_)) => USAGE,
        None => 1,
    }
}
