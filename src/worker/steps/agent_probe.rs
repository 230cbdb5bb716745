//! Our own package: it is updated last, alone, and its new program has to answer.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::PACKAGE;
use crate::exec::Program;
use crate::host::agent_client::{self, VersionAnswer};
use crate::host::bus::CALL_LIMIT;
use crate::host::systemd;
use crate::package::Change;
use crate::state::verification::{Check, CheckKind};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::shutdown;

/// How long the new program has to answer in.
const LIMIT: Duration = Duration::from_secs(90);

/// The least and the most time between two questions.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The D-Bus door.
const DOOR: &str = "patch-agent.service";

/// After changes of our own package: whether the program that is installed now answers, and with the
/// version that it is to have. Nothing is to be said of other changes. An error when the
/// host goes down: then nothing answers, and that proves nothing.
pub fn check(ctx: &Context, changes: &[Change]) -> Result<Option<Check>> {
    let mut of_self_package = changes.iter().filter(|change| change.package == PACKAGE);
    let Some(to) = of_self_package.find_map(|change| change.to.as_deref()) else {
        return Ok(None);
    };
    let expected = upstream(to);
    let answer = answers(&expected, &|| shutdown::bail_if_shutting_down(ctx).is_err());
    if answer.is_err() {
        shutdown::bail_if_shutting_down(ctx)?;
    }
    Ok(Some(Check {
        name: PACKAGE.to_owned(),
        kind: CheckKind::Agent,
        required: true,
        passed: answer.is_ok(),
        message: answer.map_or_else(|wrong| wrong, |()| format!("agent reports {expected}")),
    }))
}

/// Asks until the installed program has answered, or its time is up.
fn answers(expected: &str, stopping: &dyn Fn() -> bool) -> Result<(), String> {
    systemd::status("waiting for the new version to answer");
    // the maintainer scripts do that, too, unless they are what is broken
    if let Err(error) = systemd::try_restart_unit(DOOR) {
        tracing::debug!("{DOOR} was not asked to exit: {error:#}");
    }
    let (begun, mut pause, mut heard) = (Instant::now(), PAUSE.0, None);
    let reports = |version: &str| Err(format!("agent reports {version}, expected {expected}"));
    loop {
        let left = LIMIT.saturating_sub(begun.elapsed());
        match agent_client::ask(left.min(CALL_LIMIT)) {
            VersionAnswer::Installed(version) if version == expected => return Ok(()),
            VersionAnswer::Installed(version) => return reports(&version),
            VersionAnswer::Shut(why) => return answers_by_itself(expected, &why),
            VersionAnswer::Former(version) => heard = Some(version),
            VersionAnswer::Silence(why) => {
                tracing::debug!("the D-Bus service does not answer: {why}");
            }
        }
        if stopping() || begun.elapsed() + pause >= LIMIT {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
    match heard {
        Some(version) if version != expected => reports(&version),
        _ => Err(format!("agent did not answer within {} s", LIMIT.as_secs())),
    }
}

/// Where there is no door to ask at, the program is asked by itself.
fn answers_by_itself(expected: &str, why: &str) -> Result<(), String> {
    tracing::info!("{} is run directly: {why}", agent_client::PROGRAM);
    let program = Program::new(agent_client::PROGRAM)
        .arg("--version")
        .limit(LIMIT);
    let said = program
        .output_checked()
        .map_err(|error| format!("agent did not answer: {error:#}"))?;
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    if version == expected {
        return Ok(());
    }
    Err(format!("agent reports {version}, expected {expected}"))
}

/// The version that the program itself has in a package of this version: without the epoch and the
/// revision, which number packages of the same program, and without the marks of a rebuild or a
/// backport (deb-version(7); `+b1`, `+deb13u1`, `~bpo12+1`). What is before a release, and sorts so by
/// a `~` in packages, is after a `-` in the program's own version.
fn upstream(package: &str) -> String {
    let version = package
        .split_once(':')
        .map_or(package, |(_, version)| version);
    let version = version
        .rsplit_once('-')
        .map_or(version, |(version, _)| version);
    let end = ["+", "~bpo", "~deb"]
        .iter()
        .filter_map(|mark| version.find(mark))
        .min();
    version[..end.unwrap_or(version.len())].replace('~', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_version_is_in_the_packages() {
        for (package, program) in [
            ("2.0.1", "2.0.1"),
            ("1:2.0.1-3", "2.0.1"),
            ("2.0.1-1.fc43", "2.0.1"),
            ("2.0.1-r0", "2.0.1"),
            ("2.0.1+b1", "2.0.1"),
            ("2.0.1-1~bpo12+1", "2.0.1"),
            ("2.0.1~bpo12+1", "2.0.1"),
            ("2.0.1~deb12u1", "2.0.1"),
            ("2.1.0~rc.1-1", "2.1.0-rc.1"),
        ] {
            assert_eq!(upstream(package), program, "{package}");
        }
    }
}
