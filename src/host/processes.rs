//! Processes that run files which have been replaced: found by their deleted mappings.
//!
//! Everything read here is written by the processes themselves. It is compared and shown, never opened,
//! executed or believed further: what CVE-2024-48990 and its siblings made of needrestart.

// the suffix of a unit's name gives its type, in lower case only
#![allow(clippy::case_sensitive_file_extension_comparisons)]

use crate::sorted::InOrder;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where programs and libraries of packages lie. Memory files, temporary files and devices do not, and
/// what is not code is no fault of its process: locale archives are mapped, too.
const DIRECTORIES: [&str; 10] = [
    "/usr/lib/",
    "/usr/lib32/",
    "/usr/lib64/",
    "/usr/libexec/",
    "/usr/bin/",
    "/usr/sbin/",
    "/lib/",
    "/lib64/",
    "/bin/",
    "/sbin/",
];

/// The most files that are named of one process.
const FILES: usize = 20;

/// The most of one process's mappings that is read.
const MAPS: u64 = 4 * 1024 * 1024;

/// A process that runs replaced files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks since the boot: with the number, unique to this process.
    pub started: u64,
    /// The unit of the service manager it belongs to.
    pub unit: String,
    /// Whether it belongs to a user or a session.
    pub user: bool,
    /// The files, as they were called.
    pub files: BTreeSet<String>,
}

/// Every process of this host that runs replaced files. What has its own root, a container's above all,
/// is none of it: its files are not this host's.
#[must_use]
pub fn stale(proc: &Path) -> Vec<Stale> {
    let root = identity(&proc.join("1/root/")).or_else(|| identity(Path::new("/")));
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let of = proc.join(pid.to_string());
        let files = replaced(&read(&of.join("maps"), MAPS)?);
        if files.is_empty() || identity(&of.join("root/")) != root {
            return None;
        }
        let (unit, user) = unit(&read(&of.join("cgroup"), 64 * 1024)?)?;
        let started = started(&read(&of.join("stat"), 64 * 1024)?)?;
        Some(Stale {
            pid,
            started,
            unit,
            user,
            files,
        })
    })
    .collect()
}

/// A process may end while it is looked at, and its text need not be UTF-8.
fn read(path: &Path, limit: u64) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The files of packages that are mapped as code and deleted, as proc(5) says: pure.
fn replaced(maps: &str) -> BTreeSet<String> {
    let file = |line: &str| {
        let mut fields = line.splitn(6, ' ');
        let permissions = fields.nth(1)?;
        let path = fields.nth(3)?.trim_start().strip_suffix(" (deleted)")?;
        let code = permissions.as_bytes().get(2) == Some(&b'x');
        let ours = DIRECTORIES.iter().any(|above| path.starts_with(above));
        (code && ours).then(|| path.to_owned())
    };
    maps.lines().filter_map(file).take(FILES).in_order()
}

/// The unit of a control group, which is the first of its parts that is no slice, and whether it
/// belongs to a user: pure.
fn unit(cgroups: &str) -> Option<(String, bool)> {
    let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    let named = || {
        let mut lines = cgroups.lines();
        lines.find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path))
    };
    let known = |path: &&str| path.contains(".service") || path.contains(".scope");
    let path = unified.filter(known).or_else(named)?;
    // beyond the root of this host's groups, as cgroup_namespaces(7) shows it: no unit of its manager
    if path.starts_with("/..") {
        return None;
    }
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    // a leading underscore keeps a name apart from the kernel's own files
    let unit = parts.find(|part| !part.ends_with(".slice"))?;
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    let user = path.contains("/user.slice/") || unit.starts_with("user@") || is_session(unit);
    Some((unit.to_owned(), user))
}

fn is_session(unit: &str) -> bool {
    unit.starts_with("session-") && unit.ends_with(".scope")
}

/// The 22nd field of /proc/PID/stat; the second may contain anything and ends at the last bracket: pure.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replaced_code_of_packages_counts() {
        let maps = "\
7f10 r-xp 00000000 fe:01 100                     /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)
7f11 r--p 00000000 fe:01 101                     /usr/lib/locale/locale-archive (deleted)
7f12 r-xp 00000000 fe:01 102                     /usr/lib/x86_64-linux-gnu/libc.so.6
7f13 r-xp 00000000 00:01 103                     /memfd:jit (deleted)
7f14 rwxp 00000000 00:01 104                     /dev/zero (deleted)
7f15 r-xp 00000000 fe:01 105                     /tmp/usr/lib/evil.so (deleted)
7f16 r-xp 00000000 fe:01 106                     /usr/bin/two words (deleted)
7f17 rw-p 00000000 00:00 0
7f18 rwxp 00000000 00:00 0                       [heap]
short
";
        let found: Vec<String> = replaced(maps).into_iter().collect();
        assert_eq!(
            found,
            [
                "/usr/bin/two words",
                "/usr/lib/x86_64-linux-gnu/libssl.so.3"
            ]
        );
    }

    #[test]
    fn a_process_belongs_to_the_first_unit_that_is_no_slice() {
        let of = |path: &str| unit(&format!("12:pids:/x\n0::{path}\n")).unwrap();
        assert_eq!(
            of("/system.slice/ssh.service"),
            ("ssh.service".into(), false)
        );
        assert_eq!(
            of("/system.slice/system-getty.slice/getty@tty1.service"),
            ("getty@tty1.service".into(), false)
        );
        assert_eq!(
            of("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service"),
            ("user@1000.service".into(), true)
        );
        assert_eq!(
            of("/user.slice/user-0.slice/session-3.scope"),
            ("session-3.scope".into(), true)
        );
        assert_eq!(of("/init.scope"), ("init.scope".into(), false));
        let hybrid = "1:name=systemd:/system.slice/a.service\n0::/\n";
        assert_eq!(unit(hybrid), Some(("a.service".into(), false)));
        assert_eq!(unit("0::/\n"), None);
        assert_eq!(unit("0::/../host/init.scope\n"), None);
    }

    #[test]
    fn a_process_cannot_lie_about_its_start_by_its_name() {
        let stat = "42 (a) R 1 2) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        assert_eq!(started(stat), Some(777));
        assert_eq!(started("42"), None);
    }
}
