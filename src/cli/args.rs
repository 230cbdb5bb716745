//! The grammar of the arguments; no work is done here.

use std::ffi::OsString;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};

use crate::request::{JobId, RebootPolicy, Remote, RestartPolicy, time_span};
use crate::{COMMIT, VERSION};

/// Keeps this host patched: shows pending updates and past jobs, and asks for updates.
///
/// Everything goes through the D-Bus service org.linux_patch.Agent1, which is started when needed.
///
/// Exit status: 0 done or nothing to do, 1 failed, 2 usage, 69 the bus or the host is not reachable,
/// 75 busy, 77 not authorised.
#[derive(Debug, Parser)]
#[command(name = "patchctl", version = version(), max_term_width = 100)]
pub struct Cli {
    /// Talk to another host over ssh, as systemctl does
    #[arg(
        short = 'H',
        long,
        global = true,
        value_name = "[USER@]HOST[:PORT][/CONTAINER]"
    )]
    pub host: Option<Remote>,
    /// Whether to use colours.
    #[arg(
        help = "Whether to use colours; 'auto' does on a terminal, unless NO_COLOR is set",
        long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true,
        value_parser = ["auto", "always", "never"])]
    pub color: String,
    /// Show times in UTC, instead of the time zone of this host
    #[arg(long, global = true)]
    pub utc: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What patchctl can be asked for.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the full status: health, index, pending updates, the latest update
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Show what is known now, and wait for nothing
        #[arg(long)]
        cached: bool,
    },
    /// Show whether the host is healthy; waits for a refresh when the index is stale
    Health {
        /// Print JSON with the keys status, uptime_seconds, version, last_cache_update, cache_status
        #[arg(long)]
        json: bool,
        /// Show what is known now, and wait for nothing
        #[arg(long)]
        cached: bool,
        /// Exit with 1 when the host is degraded, and with 2 when its index was never refreshed
        #[arg(long)]
        exit_status: bool,
    },
    /// List the pending updates with size, age, origin and advisories; waits for a refresh when the index is stale
    Updates {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refresh the package index and wait for it
    Refresh {
        /// Do the work in this process, without systemd or a bus; needs root
        #[arg(long, conflicts_with_all = ["json", "timeout"])]
        direct: bool,
        /// How to wait for the job
        #[command(flatten)]
        patience: Patience,
    },
    /// Apply updates and wait until they are installed and verified
    Apply {
        /// Installed packages by their exact names; or 'all'; or 'security'
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
        /// Do the work in this process, without systemd or a bus; needs root
        #[arg(long, conflicts_with_all = ["no_wait", "json", "timeout", "defer", "expect", "if_unmodified_since", "key", "reboot", "restart"])]
        direct: bool,
        /// Wait for the end of the job; this is the default
        #[arg(long, conflicts_with = "no_wait")]
        wait: bool,
        /// Print the job's id and do not wait for it
        #[arg(long, conflicts_with_all = ["json", "timeout"])]
        no_wait: bool,
        /// How to wait for the job
        #[command(flatten)]
        patience: Patience,
        /// Let the job wait for the network when it is away, instead of failing
        #[arg(long)]
        defer: bool,
        /// Change nothing unless this package is installed in this version; may be repeated
        #[arg(long, value_name = "PACKAGE=VERSION", value_parser = expectation)]
        expect: Vec<(String, String)>,
        /// Change nothing when the index is newer than this
        #[arg(long, value_name = "TIME", value_parser = moment)]
        if_unmodified_since: Option<DateTime<Utc>>,
        /// Idempotency key: an earlier request with the same key is the same job
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Whether the host is rebooted after a success that changed something; as configured by default.
        /// Other than 'never' it also requires the right to ask for a reboot
        #[arg(long, value_name = "POLICY")]
        reboot: Option<RebootPolicy>,
        /// Whether services that run replaced files are restarted; as configured by default
        #[arg(long, value_name = "POLICY")]
        restart: Option<RestartPolicy>,
    },
    /// Show what an apply would do
    Plan {
        /// Installed packages by their exact names; or 'all'; or 'security'
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<String>,
        /// List every package that is kept back
        #[arg(long)]
        kept_back: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Wait for the end of an earlier job
    Wait {
        /// The job's id, from 'patchctl queue' or 'patchctl jobs'
        #[arg(value_name = "JOB")]
        job: JobId,
        /// How to wait for the job
        #[command(flatten)]
        patience: Patience,
    },
    /// List the jobs that have not ended
    Queue {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel a job, which is possible until its packages change, and wait for its end
    Cancel {
        /// The job's id, from 'patchctl queue'
        #[arg(value_name = "JOB")]
        job: JobId,
    },
    /// List the jobs whose preconditions no longer hold
    Conflicts {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Resolve a conflict
    #[command(group = clap::ArgGroup::new("decision").required(true))]
    Resolve {
        /// The job's id, from 'patchctl conflicts'
        #[arg(value_name = "JOB")]
        job: JobId,
        /// Apply the update nevertheless, and wait for it
        #[arg(long, group = "decision")]
        apply: bool,
        /// Discard the request
        #[arg(long, group = "decision")]
        discard: bool,
    },
    /// Undo what a job has changed: exactly the former versions come back
    ///
    /// Only the last change of a package can be undone. The same versions are not offered again until a
    /// newer one appears, or until 'patchctl forget'.
    Rollback {
        /// The job's id, from 'patchctl jobs'
        #[arg(value_name = "JOB")]
        job: JobId,
        /// Leave packages that cannot go back as they are, and roll back the others; otherwise such a rollback is refused
        #[arg(long)]
        partial: bool,
        /// Wait for the end of the job; this is the default
        #[arg(long, conflicts_with = "no_wait")]
        wait: bool,
        /// Print the new job's id and do not wait for it
        #[arg(long, conflicts_with_all = ["json", "timeout"])]
        no_wait: bool,
        /// How to wait for the job
        #[command(flatten)]
        patience: Patience,
    },
    /// Offer the rolled-back versions of a job again
    Forget {
        /// The job's id, from 'patchctl plan all'
        #[arg(value_name = "JOB")]
        job: JobId,
    },
    /// Reboot the host once no job is left
    Reboot {
        /// How long after that, such as 5min or 1h
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = time_span)]
        delay: Duration,
        /// Cancel a scheduled reboot, whichever program asked for it
        #[arg(long, conflicts_with = "delay")]
        cancel: bool,
    },
    /// Acknowledge an alert that reports a past failure, which ends it
    Acknowledge {
        /// The alert's key, from 'patchctl status': update-failed, rolled-back or self-update-failed; or 'all'
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// List the latest jobs
    Jobs {
        /// How many at most
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a job's record and what the package manager printed
    Log {
        /// The job's id, from 'patchctl jobs'
        #[arg(value_name = "JOB")]
        job: JobId,
        /// Print the record as JSON, without the output
        #[arg(long, conflicts_with = "follow")]
        json: bool,
        /// Print the output as it comes, until the job ends; the exit status is the job's
        #[arg(short, long)]
        follow: bool,
    },
    /// What the units of this package start; not for people
    #[command(subcommand, hide = true)]
    Run(Run),
}

/// How a job is waited for.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Patience {
    /// Print the job's record as JSON at its end, as 'patchctl log --json' does
    #[arg(long)]
    pub json: bool,
    /// Wait no longer than this, such as 90s or 10min; the job goes on, and the exit status is 75
    #[arg(long, value_name = "TIME", value_parser = time_span)]
    pub timeout: Option<Duration>,
}

/// What the units start.
#[derive(Debug, Subcommand)]
pub enum Run {
    /// patch-refresh.service
    Refresh,
    /// patch-apply@.service
    Apply {
        /// The unit's instance name, as `%i` gives it
        #[arg(long, allow_hyphen_values = true, required = true)]
        instance: OsString,
    },
    /// patch-apply.service
    Drain,
    /// patch-plan.service
    Plan,
    /// patch-retry.service
    Retry,
    /// patch-alert@.service
    Alert {
        /// The unit's instance name: the key of the alert
        #[arg(long, allow_hyphen_values = true, required = true)]
        instance: String,
    },
    /// patch-agent.service
    Agent {
        /// Seconds without a call after which it leaves
        #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
        idle: Duration,
    },
    /// patch-request@.service
    Varlink,
    /// A program that ends when the process that started it ends
    Leashed {
        /// The process that starts it
        parent: u32,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// The package manager's hook
    Gate {
        /// The job whose transaction asks
        #[arg(long)]
        job: JobId,
        /// The number of this attempt to put former versions back
        #[arg(long, value_name = "ATTEMPT")]
        back: Option<u32>,
    },
}

/// The second word is the version alone: the worker of another version reads it.
fn version() -> &'static str {
    format!("{VERSION} (commit {COMMIT})").leak()
}

fn expectation(text: &str) -> Result<(String, String), String> {
    let (package, version) = text
        .split_once('=')
        .ok_or("not of the form PACKAGE=VERSION")?;
    Ok((package.to_owned(), version.to_owned()))
}

/// A time, such as `last_cache_update` of `patchctl health --json`.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let form =
        "a time as RFC 3339 has it, such as 2026-01-02T03:04:05Z or 2026-01-02T04:04:05+01:00";
    text.parse().map_err(|_| format!("not {form}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every verb, hidden ones as well, with its options and their values: scripts and units go by them.
    fn grammar(command: &clap::Command, path: &str, lines: &mut Vec<String>) {
        let path = format!("{path}{}", command.get_name());
        let aliases: Vec<&str> = command.get_all_aliases().collect();
        lines.push(format!("{path} {aliases:?}"));
        for argument in command.get_arguments() {
            let values = argument.get_possible_values();
            let values: Vec<&str> = values
                .iter()
                .map(clap::builder::PossibleValue::get_name)
                .collect();
            let (short, long) = (argument.get_short(), argument.get_long());
            let names = (argument.get_id(), short, long, argument.get_num_args());
            lines.push(format!("  {names:?} {values:?}"));
        }
        for verb in command.get_subcommands() {
            grammar(verb, &format!("{path} "), lines);
        }
    }

    #[test]
    fn every_verb_and_option_is_as_it_was() {
        let mut lines = Vec::new();
        grammar(&Cli::command(), "", &mut lines);
        expect_test::expect_file!["../../tests/frozen/grammar.txt"]
            .assert_eq(&(lines.join("\n") + "\n"));
    }

    #[test]
    fn any_instance_reaches_us() {
        for instance in ["", "--help", "-x", "..", "a b"] {
            let argument = format!("--instance={instance}");
            let cli = Cli::try_parse_from(["patchctl", "run", "apply", &argument]).unwrap();
            let Verb::Run(Run::Apply { instance: parsed }) = cli.verb else {
                panic!("{cli:?}")
            };
            assert_eq!(parsed, instance);
        }
    }
}
