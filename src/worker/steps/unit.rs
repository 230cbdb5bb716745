//! One unit, as systemd describes it: asked of a unit that has failed or that could be restarted.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::exec::Program;
use crate::host::systemd;

/// How long systemctl may take: it asks the service manager without the bus.
const LIMIT: Duration = Duration::from_secs(10);

/// The properties that are asked for (org.freedesktop.systemd1(5)).
const PROPERTIES: &str = "--property=Id,Type,RemainAfterExit,ActiveState,SubState,TriggeredBy,\
    FragmentPath,SourcePath,DropInPaths,ExecCondition,ExecStartPre,ExecStart,ExecStartPost,\
    RootDirectory,RootImage,InactiveExitTimestampMonotonic,StateChangeTimestampMonotonic";

/// A unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// `Type=` of a service; empty for the other types of units.
    pub kind: String,
    /// Whether it stays active when its program has ended.
    pub remains: bool,
    /// Its active state, such as `active` or `activating`.
    pub active: String,
    /// The timers, paths and sockets that start it.
    pub triggers: Vec<String>,
    /// Its own file, its drop-ins, and what it was generated from.
    pub files: Vec<String>,
    /// The absolute paths in the command lines that starting it runs: its programs, and what they are given.
    pub programs: Vec<String>,
    /// Whether its programs are those of another root directory.
    pub has_own_root: bool,
    /// When it was last started: microseconds of the monotonic clock, 0 for never.
    pub started: u64,
    /// When its state last changed, by the same clock.
    pub changed: u64,
}

impl Unit {
    /// Asks the service manager for a unit of this name.
    pub fn ask(name: &str) -> Result<Self> {
        let program = Program::new("/usr/bin/systemctl").args(["show", PROPERTIES, "--", name]);
        let unit = parse(&program.limit(LIMIT).output_checked()?);
        ensure!(unit.name == name, "systemctl answered for '{}'", unit.name);
        Ok(unit)
    }

    /// Whether it does some work and ends, or does it at times that others set: a service that is started
    /// by a timer or a path, or of `Type=oneshot`. Stopped in the middle, its work would be left half done.
    pub fn is_errand(&self) -> bool {
        let has = |suffix: &str| self.triggers.iter().any(|unit| is_of_kind(unit, suffix));
        let by_path = || {
            let starter = systemd::starter(&self.name);
            // older managers than systemd 250 do not tell
            starter.map_or(true, |unit| {
                unit.is_some_and(|unit| is_of_kind(&unit, ".path"))
            })
        };
        self.kind == "oneshot" || has(".timer") || has(".path") && by_path()
    }
}

/// Whether the name of a unit ends in this suffix, in which systemd.unit(5) distinguishes cases.
fn is_of_kind(unit: &str, suffix: &str) -> bool {
    unit.ends_with(suffix)
}

/// Parses what `systemctl show` prints of one unit: pure.
fn parse(output: &str) -> Unit {
    let mut unit = Unit::default();
    for line in output.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let number = || value.parse().unwrap_or_default();
        match key {
            "Id" => value.clone_into(&mut unit.name),
            "Type" => value.clone_into(&mut unit.kind),
            "RemainAfterExit" => unit.remains = value == "yes",
            "ActiveState" => value.clone_into(&mut unit.active),
            "TriggeredBy" => unit.triggers.extend(words(value)),
            "FragmentPath" | "SourcePath" | "DropInPaths" => unit.files.extend(words(value)),
            "ExecCondition" | "ExecStartPre" | "ExecStart" | "ExecStartPost" => {
                unit.programs.extend(programs(value));
            }
            "RootDirectory" | "RootImage" => unit.has_own_root |= !matches!(value, "" | "/"),
            "InactiveExitTimestampMonotonic" => unit.started = number(),
            "StateChangeTimestampMonotonic" => unit.changed = number(),
            _ => {}
        }
    }
    unit
}

/// The words of a list; one with a space in it is quoted.
fn words(list: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in list.split('"').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The absolute paths of `{ path=/bin/x ; argv[]=x a /b ; ignore_errors=no ; … }`, each once.
fn programs(value: &str) -> Vec<String> {
    let command = || {
        let (_, rest) = value.split_once("path=")?;
        let (path, rest) = rest.split_once(" ; argv[]=")?;
        let (words, _) = rest.split_once(" ; ignore_errors=")?;
        Some((path, words))
    };
    let Some((path, words)) = command() else {
        return Vec::new();
    };
    let mut paths = vec![path.to_owned()];
    let absolute = words
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for word in absolute.filter(|word| *word != path) {
        paths.push(word.to_owned());
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read() {
        // systemd 252
        let unit = parse(
            "Type=oneshot\nRemainAfterExit=no\n\
             ExecStart={ path=/bin/sh ; argv[]=/bin/sh -c echo a=b; /usr/bin/true ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }\n\
             ExecStart={ path=/bin/false ; argv[]=false ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }\n\
             RootDirectory=\nRootImage=\nId=t.service\nTriggeredBy=t.timer t.path\nActiveState=failed\nSubState=failed\n\
             FragmentPath=/etc/systemd/system/t.service\nSourcePath=\n\
             DropInPaths=\"/etc/systemd/system/t.service.d/a b.conf\" /etc/systemd/system/t.service.d/x.conf\n\
             StateChangeTimestampMonotonic=3269924827\nInactiveExitTimestampMonotonic=3269912794\n",
        );
        assert_eq!(unit.name, "t.service");
        assert_eq!(unit.programs, ["/bin/sh", "/usr/bin/true", "/bin/false"]);
        assert_eq!(unit.triggers, ["t.timer", "t.path"]);
        assert_eq!(
            unit.files,
            [
                "/etc/systemd/system/t.service",
                "/etc/systemd/system/t.service.d/a b.conf",
                "/etc/systemd/system/t.service.d/x.conf"
            ]
        );
        assert_eq!((unit.started, unit.changed), (3_269_912_794, 3_269_924_827));
        assert!(unit.is_errand() && !unit.remains && !unit.has_own_root);
        assert_eq!(unit.active, "failed");
    }

    #[test]
    fn a_daemon_is_no_errand_whatever_starts_it_when_it_is_asked_for() {
        let unit = |kind: &str, triggers: &[&str]| Unit {
            kind: kind.into(),
            triggers: triggers.iter().map(ToString::to_string).collect(),
            ..Unit::default()
        };
        assert!(!unit("notify", &[]).is_errand());
        assert!(!unit("simple", &["ssh.socket"]).is_errand());
        assert!(unit("simple", &["backup.timer"]).is_errand());
        assert!(unit("oneshot", &[]).is_errand());
    }
}
