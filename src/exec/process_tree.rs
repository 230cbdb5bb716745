//! The descendants of this process: the others wait for the deepest one.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

/// The most of a process's command line and environment that is read.
const LIMIT: u64 = 64 * 1024;

/// A process, as `/proc` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: u32,
    /// Its command line; its name in brackets where it has none, as ps(1) shows it.
    pub arguments: Vec<String>,
    /// The environment it was started with, as `NAME=value`.
    pub environment: Vec<String>,
}

/// The processes from a child of this process down to its deepest, and then youngest, descendant; empty when this
/// process has no child. It reads every process of the host, so callers use it rarely.
#[must_use]
pub fn deepest_descendant() -> Vec<ProcessInfo> {
    let proc = Path::new("/proc");
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // a process that ends meanwhile is not the one that hangs
    let known = pids.filter_map(|pid| {
        let stat = read(&proc.join(pid.to_string()).join("stat"))?;
        Some((pid, parent_link(&String::from_utf8_lossy(&stat))?))
    });
    let path = path(&known.collect(), std::process::id());
    path.into_iter().map(|pid| process(proc, pid)).collect()
}

/// The parent of a process, and when the process was started, in ticks since the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ParentLink {
    parent: u32,
    started: u64,
}

/// Fields 3, 4 and 22 of `/proc/PID/stat`, proc(5); field 2 may contain anything and ends at the last bracket. A
/// zombie counts as no process: pure.
fn parent_link(stat: &str) -> Option<ParentLink> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let alive = !matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    alive.then_some(ParentLink { parent, started })
}

/// The process numbers from a child of `root` down to its deepest descendant: pure.
fn path(known: &BTreeMap<u32, ParentLink>, root: u32) -> Vec<u32> {
    let up = |pid: u32| {
        let mut path = vec![pid];
        // the kernel may have reused a number while the list was read: no path is longer than the list
        while path.len() <= known.len() {
            match known.get(path.last()?)?.parent {
                parent if parent == root => return Some(path),
                parent => path.push(parent),
            }
        }
        None
    };
    let paths = known.iter().filter_map(|(pid, link)| {
        let path = up(*pid)?;
        Some(((path.len(), link.started), path))
    });
    let deepest = paths.max_by_key(|(rank, _)| *rank);
    let mut path = deepest.map_or(Vec::new(), |(_, path)| path);
    path.reverse();
    path
}

fn process(proc: &Path, pid: u32) -> ProcessInfo {
    let of = proc.join(pid.to_string());
    let mut arguments = words(&read(&of.join("cmdline")).unwrap_or_default());
    if arguments.is_empty() {
        let name = read(&of.join("comm")).unwrap_or_default();
        arguments.push(format!("[{}]", String::from_utf8_lossy(&name).trim()));
    }
    ProcessInfo {
        pid,
        arguments,
        environment: words(&read(&of.join("environ")).unwrap_or_default()),
    }
}

fn words(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0');
    if text.is_empty() {
        return Vec::new();
    }
    text.split('\0').map(str::to_owned).collect()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::exec::{ExitReason, Line, Program};

    fn links(list: &[(u32, u32, u64)]) -> BTreeMap<u32, ParentLink> {
        let link = |(pid, parent, started): &(u32, u32, u64)| {
            let (parent, started) = (*parent, *started);
            (*pid, ParentLink { parent, started })
        };
        list.iter().map(link).collect()
    }

    #[test]
    fn the_deepest_and_youngest_is_what_the_others_wait_for() {
        let known = links(&[
            (1, 0, 0),
            (10, 1, 5),
            // apt, dpkg, a script, two children of it
            (20, 10, 6),
            (21, 20, 7),
            (22, 21, 8),
            (23, 22, 9),
            (24, 22, 10),
            // another child, and the processes of another program
            (30, 10, 11),
            (40, 1, 12),
            (41, 40, 13),
        ]);
        assert_eq!(path(&known, 10), [20, 21, 22, 24]);
        assert_eq!(path(&known, 24), [] as [u32; 0]);
        // reused numbers may form a circle
        assert!(path(&links(&[(5, 6, 1), (6, 5, 1)]), 10).is_empty());
    }

    #[test]
    fn the_name_of_a_process_cannot_forge_its_parent() {
        let stat = |state: &str| {
            format!("42 (a) S 1 1) {state} 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0")
        };
        let parent_link = |state: &str| super::parent_link(&stat(state));
        let (parent, started) = (7, 777);
        assert_eq!(parent_link("D"), Some(ParentLink { parent, started }));
        assert_eq!(parent_link("Z"), None);
        assert_eq!(super::parent_link("42"), None);
    }

    #[test]
    fn a_child_that_waits_is_found_with_its_words() {
        let program = Program::new("/bin/sh")
            .args(["-c", "sleep 1000; :", "two words"])
            .env("MARK", "x");
        let running = std::thread::spawn(move || program.run(&mut |_: Line<'_>| {}));
        // other tests have children, too, for a while
        let found = || {
            let path = deepest_descendant();
            let is_ours = |process: &ProcessInfo| process.arguments.last().unwrap() == "two words";
            let ours: Vec<ProcessInfo> = path.into_iter().skip_while(|p| !is_ours(p)).collect();
            // between fork and exec the child has the words of its parent
            let child = ours.get(1)?;
            (child.arguments == ["sleep", "1000"]).then_some(ours)
        };
        let until = Instant::now() + Duration::from_secs(60);
        let mut ours = found();
        while ours.is_none() && Instant::now() < until {
            std::thread::yield_now();
            ours = found();
        }
        let ours = ours.unwrap();
        for process in &ours {
            let pid = i32::try_from(process.pid).unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        assert_eq!(
            running.join().unwrap().unwrap().exit_reason,
            ExitReason::Killed(9)
        );
        assert_eq!(ours.len(), 2);
        assert!(ours[0].environment.contains(&"MARK=x".to_owned()));
    }
}
