//! The units that wake this program: whether each of them is at work, and will be after the next boot.

use std::fs;

use anyhow::Result;
use zbus::Connection;

use super::manager::by_names;
use crate::paths::Paths;

/// The units without which a request, a question or the next refresh is waited for in vain; each with what then
/// does not happen.
const UNITS: [(&str, &str); 4] = [
    ("patch-apply.path", "requests in the queue are not served"),
    (
        "patch-plan.path",
        "questions about what is pending are not answered",
    ),
    (
        "patch-request.socket",
        "the Varlink socket answers no connection",
    ),
    (
        "patch-refresh.timer",
        "the package index is not refreshed automatically",
    ),
];

/// Where the links lie that start a unit at boot (systemd.unit(5)).
const WANTED_IN: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// How one of the units is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is at work, and will be after the next boot.
    Good,
    /// An administrator has forbidden it.
    Masked,
    /// Its file is gone.
    Missing,
    /// It is not at work, and will not be after the next boot either.
    Off,
    /// It is not at work, and will be after the next boot.
    Stopped,
    /// It is at work, and will not be after the next boot.
    Disabled,
}

/// What is wrong with the units, a sentence for each of them that is not as it has to be: what does not happen,
/// and what to do. An error where the service manager does not say.
pub async fn look(bus: &Connection, paths: &Paths) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (unit, without, state) in states(bus, paths).await? {
        wrong.extend(sentence(unit, without, state));
    }
    Ok(wrong)
}

/// The units that are not at work and that an administrator has neither disabled nor masked.
pub(super) async fn stopped(bus: &Connection, paths: &Paths) -> Result<Vec<&'static str>> {
    let states = states(bus, paths).await?.into_iter();
    let stopped = states.filter(|(.., state)| *state == State::Stopped);
    Ok(stopped.map(|(unit, ..)| unit).collect())
}

async fn states(
    bus: &Connection,
    paths: &Paths,
) -> Result<Vec<(&'static str, &'static str, State)>> {
    let names = UNITS.map(|(unit, _)| unit);
    let known = by_names(bus, &names).await?;
    let state = |&(unit, without): &(&'static str, &'static str)| {
        let found = known.iter().find(|found| found.0 == unit)?;
        let state = judge(&found.2, &found.3, || is_wanted(paths, unit));
        Some((unit, without, state))
    };
    Ok(UNITS.iter().filter_map(state).collect())
}

/// How a unit is, by its load state and its active state as systemd calls them: pure but for the question.
fn judge(load: &str, active: &str, is_wanted: impl Fn() -> bool) -> State {
    let is_up = ["active", "activating", "reloading", "deactivating"].contains(&active);
    match (load, is_up) {
        ("masked", _) => State::Masked,
        ("not-found", _) => State::Missing,
        (_, true) if is_wanted() => State::Good,
        (_, true) => State::Disabled,
        (_, false) if is_wanted() => State::Stopped,
        (_, false) => State::Off,
    }
}

/// Whether something that is started at boot wants the unit.
fn is_wanted(paths: &Paths, unit: &str) -> bool {
    let wants = |name: &str| {
        let kind = name.rsplit_once('.').map(|(_, kind)| kind);
        matches!(kind, Some("wants" | "requires"))
    };
    WANTED_IN.iter().any(|directory| {
        let entries = fs::read_dir(paths.host(directory)).into_iter().flatten();
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(wants))
            .any(|entry| entry.path().join(unit).symlink_metadata().is_ok())
    })
}

fn sentence(unit: &str, without: &str, state: State) -> Option<String> {
    Some(match state {
        State::Good => return None,
        State::Masked => format!(
            "{unit} is masked, and {without}; 'systemctl unmask {unit}' and 'systemctl enable --now {unit}' end that"
        ),
        State::Missing => format!(
            "systemd does not find {unit}, and {without}; install {} again",
            crate::PACKAGE
        ),
        State::Off => format!(
            "{unit} is stopped and disabled, and {without}; 'systemctl enable --now {unit}' ends that"
        ),
        State::Stopped => {
            format!("{unit} is stopped, and {without}; 'systemctl start {unit}' ends that")
        }
        State::Disabled => format!(
            "{unit} is disabled: after the next boot, {without}; 'systemctl enable {unit}' ends that"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_has_to_be_at_work_now_and_after_the_next_boot() {
        for (load, active, wanted, state) in [
            ("loaded", "active", true, State::Good),
            ("loaded", "activating", true, State::Good),
            ("loaded", "active", false, State::Disabled),
            ("loaded", "inactive", true, State::Stopped),
            ("loaded", "failed", true, State::Stopped),
            ("loaded", "inactive", false, State::Off),
            ("masked", "active", true, State::Masked),
            ("not-found", "inactive", false, State::Missing),
        ] {
            assert_eq!(judge(load, active, || wanted), state, "{load} {active}");
            let said = sentence("patch-x.path", "nothing happens", state);
            assert_eq!(said.is_none(), state == State::Good);
            assert!(said.is_none_or(|said| said.contains("nothing happens")));
        }
    }

    #[test]
    fn links_below_any_target_start_a_unit() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let wants = root.path().join("etc/systemd/system/paths.target.wants");
        fs::create_dir_all(&wants).unwrap();
        assert!(!is_wanted(&paths, "a.path"));
        std::os::unix::fs::symlink("/nowhere/a.path", wants.join("a.path")).unwrap();
        assert!(is_wanted(&paths, "a.path") && !is_wanted(&paths, "b.path"));
    }
}
