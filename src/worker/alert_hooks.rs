//! Programs of the administrator: found in a directory that only root may write to, and run one by one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::exec::{Line, Program};
use crate::host::hook_dir::{hooks, trusted};
use crate::host::systemd;
use crate::journal;
use crate::paths::Paths;
use crate::sorted::InOrder;
use crate::state::alert::{AlertEvent, Alerts, Cause};
use crate::worker::bookkeeping::{alerts, in_flight};

/// How long one hook may take: long enough for a mail server that is slow to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// The most lines of one hook that go to the journal.
const LINES: usize = 200;

/// What systemd tells a unit that was started because another has failed (systemd.exec(5)).
const MONITOR: [&str; 5] = [
    "MONITOR_SERVICE_RESULT",
    "MONITOR_EXIT_CODE",
    "MONITOR_EXIT_STATUS",
    "MONITOR_INVOCATION_ID",
    "MONITOR_UNIT",
];

/// What of the environment says why this unit was started.
#[must_use]
pub fn monitored() -> BTreeMap<String, String> {
    let given = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
    MONITOR.iter().filter_map(given).in_order()
}

/// patch-alert@.service. The instance is the key of an alert, started by the process that raised or resolved it:
/// then every event that the hooks have not been told of is given to them. Or it is a worker's unit,
/// started by its `OnFailure=`: then the alert is raised that a worker which died could not raise, and another
/// one finishes what it left.
/// (An instance for each worker, because systemd tells nothing of the failure to a unit that several
/// could have started.)
pub fn run(paths: &Paths, instance: &str, monitor: &BTreeMap<String, String>) -> Result<()> {
    if let Ok(cause) = instance.parse() {
        return drain(paths, cause);
    }
    let cause = match instance {
        "patch-refresh.service" => Cause::RefreshFailing,
        unit if unit.starts_with("patch-") && unit.ends_with(".service") => Cause::UpdateFailed,
        _ => bail!(
            "{} is neither an alert nor a worker",
            crate::request::shown(instance)
        ),
    };
    let Some(text) = death(instance, monitor) else {
        return Ok(());
    };
    let raised = raise(paths, cause, &text, monitor);
    // after the alert, which its success takes back
    in_flight::ask_for_another(paths);
    raised
}

/// Tells the hooks every event of one alert that they have not been told of.
fn drain(paths: &Paths, cause: Cause) -> Result<()> {
    while let Some(event) = Alerts::load_to_change(paths).unhooked(cause).cloned() {
        run_hooks(paths, &event);
        let (key, number) = (event.alert.key, event.number);
        Alerts::change(paths, |alerts| alerts.hooked.insert(key, number))
            .context("the list of hooks that have run cannot be written")?;
    }
    Ok(())
}

/// Raises the alert of a worker that could not. When the disk is the reason, this cannot be written down
/// either: then the hooks are told now, and nothing remembers it.
fn raise(
    paths: &Paths,
    cause: Cause,
    text: &str,
    monitor: &BTreeMap<String, String>,
) -> Result<()> {
    match Alerts::change(paths, |alerts| alerts.raise_death(cause, text, monitor)) {
        Ok(None) => Ok(()),
        Ok(Some(event)) => {
            alerts::announce(&event);
            systemd::wake_agent();
            Ok(())
        }
        Err(error) => {
            if let Some(event) = Alerts::default().raise_death(cause, text, monitor) {
                alerts::say(&event);
                run_hooks(paths, &event);
            }
            Err(error)
        }
    }
}

/// In a sentence, how a worker ended that could not say so itself. One that exited with a code of ours
/// has written down what there is to say: not every failed job is an alert, one that was cancelled is none.
fn death(unit: &str, monitor: &BTreeMap<String, String>) -> Option<String> {
    let result = monitor.get("MONITOR_SERVICE_RESULT")?;
    let status = monitor
        .get("MONITOR_EXIT_STATUS")
        .map_or("unknown", String::as_str);
    let ours = ["0", "1", "2", "69", "75", "77"];
    if result == "success" || (result == "exit-code" && ours.contains(&status)) {
        return None;
    }
    Some(journal::plain(&format!(
        "{unit} died ({result}, {status}); 'patchctl jobs' shows what it was doing"
    )))
}

fn run_hooks(paths: &Paths, event: &AlertEvent) {
    let directory = paths.host("/etc/linux_patch_api/alert.d");
    let hooks = match hooks(&directory) {
        Ok(hooks) => hooks,
        Err(error) => {
            journal::hook_failed(&directory, &format!("{error:#}"));
            return;
        }
    };
    let job = event.alert.job.as_ref().map(ToString::to_string);
    let state = if event.raised { "raised" } else { "resolved" };
    let mut variables = vec![
        ("PATCH_ALERT".to_owned(), event.alert.key.clone()),
        ("PATCH_ALERT_STATE".to_owned(), state.to_owned()),
        ("PATCH_ALERT_TEXT".to_owned(), event.alert.text.clone()),
        ("PATCH_JOB".to_owned(), job.unwrap_or_default()),
    ];
    variables.extend(event.monitor.clone());
    for hook in hooks {
        if let Err(error) = run_hook(&hook, &variables) {
            journal::hook_failed(&hook, &format!("{error:#}"));
        }
    }
}

fn run_hook(hook: &Path, variables: &[(String, String)]) -> Result<()> {
    trusted(hook)?;
    let program = Program::new(hook).bare().limit(LIMIT);
    let program = variables
        .iter()
        .fold(program, |program, (name, value)| program.env(name, value));
    let mut lines = 0;
    let finished = program.run(&mut |line: Line<'_>| {
        lines += 1;
        if let (Line::Output(text) | Line::Error(text), true) = (line, lines <= LINES) {
            journal::hook_output(hook, text);
        }
    })?;
    ensure!(finished.succeeded(), "{}", program.failure(&finished));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died(result: &str, status: &str) -> Option<String> {
        let monitor = [
            ("MONITOR_SERVICE_RESULT", result),
            ("MONITOR_EXIT_STATUS", status),
        ];
        let monitor = monitor.map(|(key, value)| (key.to_owned(), value.to_owned()));
        death("patch-apply@demo.service", &monitor.into())
    }

    #[test]
    fn only_a_death_without_a_word_is_an_alert_of_its_own() {
        let text = died("signal", "KILL").unwrap();
        assert!(text.contains("patch-apply@demo.service died (signal, KILL)"));
        for (result, status) in [
            ("oom-kill", "KILL"),
            ("exit-code", "203"),
            ("exit-code", "101"),
        ] {
            assert!(died(result, status).is_some(), "{status}");
        }
        for status in ["1", "75"] {
            assert_eq!(died("exit-code", status), None);
        }
        assert_eq!(death("x", &BTreeMap::new()), None, "started by hand");
    }
}
