//! When this host was started: files older than that are in use, newer ones wait for a reboot.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A socket that systemd makes when it starts as PID 1, and keeps while it re-executes itself (FACTS 64).
const MADE_AT_START: &str = "run/systemd/notify";

/// Reasons to reboot that no longer hold because a rollback restored the version that runs: each reason with the time
/// of the rollback, in seconds since 1970.
pub type TakenBack = BTreeMap<String, i64>;

/// Whether a file that was replaced `at` a time, in seconds since 1970, differs from what runs: what runs was
/// `started`, or rolled back to, before: pure.
pub fn is_replaced(at: i64, reason: &str, started: i64, taken_back: &TakenBack) -> bool {
    let back = taken_back.get(reason).copied().unwrap_or(started);
    at > started.max(back)
}

/// The kernel's ticks in a second as proc(5) shows them, `USER_HZ`: the same on every architecture that systemd
/// supports.
const TICKS: i64 = 100;

/// When this host was started, in seconds since 1970. A container starts later than its machine, whose boot is the one
/// that `/proc/stat` dates: its own start is that of its PID 1. The front ends, which see no process of root, read it
/// from a file that systemd makes then.
pub fn started(root: &Path) -> Option<i64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let machine = machine_booted(&read("proc/stat"))?;
    let first = started_after(&read("proc/1/stat")).map(|seconds| machine + seconds);
    let made = fs::metadata(root.join(MADE_AT_START)).map(|file| file.ctime());
    // the clock was ahead when the file was made, and has been corrected since
    let made = made.ok().filter(|made| *made <= now());
    [Some(machine), first, made].into_iter().flatten().max()
}

/// When the machine was booted, in seconds since 1970 (proc(5), `/proc/stat`): pure.
fn machine_booted(stat: &str) -> Option<i64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

/// How many seconds after the boot a process was started: the 22nd field of `/proc/PID/stat`, whose second
/// one may contain anything and ends at the last bracket: pure.
fn started_after(stat: &str) -> Option<i64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: i64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks / TICKS)
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    now.and_then(|now| i64::try_from(now.as_secs()).ok())
        .unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_starts_later_than_its_machine() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(started(root.path()), None);
        write("proc/stat", "cpu 1 2\nbtime 1000\n");
        assert_eq!(started(root.path()), Some(1000));
        let pid1 = "1 (systemd) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 25000 1 2";
        write("proc/1/stat", pid1);
        assert_eq!(started(root.path()), Some(1250));
        write("proc/1/stat", "1 (a) b 1) S 0 1 1");
        write("run/systemd/notify", "");
        let made = fs::metadata(root.path().join("run/systemd/notify")).unwrap();
        assert_eq!(started(root.path()), Some(made.ctime()));
    }
}
