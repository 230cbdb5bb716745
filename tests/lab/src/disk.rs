//! A disk that fails where and when a test wants it to: full, broken, unreadable, for our program's own files alone.

use anyhow::Result;
use rustix::io::Errno;

use crate::cache;
use crate::host::Host;
use crate::machine;

/// The library that comes between our program and the C library.
const SOURCE: &str = include_str!("../disk/disk.c");

/// Where it lies on the host.
const LIBRARY: &str = "/usr/lib/lab-disk.so";

/// The file by which every program of a host has it; it does nothing in all but ours.
const PRELOAD: &str = "/etc/ld.so.preload";

/// What is to fail.
const PLAN: &str = "/run/lab-disk/plan";

/// What was asked for so far.
const TRACE: &str = "/run/lab-disk/trace";

/// Which reading call is to fail, once.
const READ_PLAN: &str = "/run/lab-disk/read-plan";

/// What was read so far.
const READS: &str = "/run/lab-disk/reads";

/// What has failed.
const REFUSED: &str = "/run/lab-disk/refused";

/// A host whose worker, and its gate, write to a disk that can fail. Numbers of writes begin at 1 with each
/// [`clear`](Self::clear).
pub struct Disk<'a> {
    host: &'a Host,
}

/// How the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// No space is left, from this write on.
    Full,
    /// The same, because of a quota.
    Quota,
    /// This one write fails with an input/output error.
    Broken,
}

impl<'a> Disk<'a> {
    /// Puts the disk below a host.
    #[track_caller]
    pub fn below(host: &'a Host) -> Self {
        let library = library().unwrap_or_else(|error| panic!("{error:#}"));
        // programs of the host may have it mapped already, and would die if it changed under them
        let new = format!("{LIBRARY}.new");
        host.copy_in(&library, &new);
        host.sh(&format!("mv {new} {LIBRARY}"));
        host.write(PRELOAD, format!("{LIBRARY}\n"));
        let disk = Self { host };
        disk.clear();
        disk
    }

    /// From now on this write fails.
    #[track_caller]
    pub fn fail(&self, write: usize, fault: DiskFault) {
        let (last, error) = match fault {
            DiskFault::Full => (u32::MAX as usize, Errno::NOSPC),
            DiskFault::Quota => (u32::MAX as usize, Errno::DQUOT),
            DiskFault::Broken => (write, Errno::IO),
        };
        let plan = format!("{write} {last} {}", error.raw_os_error());
        self.host.write(PLAN, plan);
    }

    /// The next time that a file of this directory with this end of its name is opened, or read, fails once:
    /// for want of a descriptor, or with an input/output error.
    #[track_caller]
    pub fn fail_read(&self, call: &str, directory: &str, suffix: &str) {
        let error = if call == "open" {
            Errno::MFILE
        } else {
            Errno::IO
        };
        let plan = format!("{call} {directory} {suffix} {}", error.raw_os_error());
        // at once, and never half of it
        let new = format!("{READ_PLAN}.new");
        self.host.write(&new, plan);
        self.host.sh(&format!("mv {new} {READ_PLAN}"));
    }

    /// What was read so far, as `open /var/lib/…`.
    #[track_caller]
    pub fn reads(&self) -> Vec<String> {
        self.lines(READS)
    }

    /// The disk is in order again.
    #[track_caller]
    pub fn heal(&self) {
        self.host.sh(&format!("rm -f {PLAN} {READ_PLAN}"));
    }

    /// The disk is in order, and its counters start again.
    #[track_caller]
    pub fn clear(&self) {
        self.host.sh(&format!(
            "rm -f {PLAN} {READ_PLAN}; mkdir -p /run/lab-disk; : >{TRACE}; : >{READS}; : >{REFUSED}"
        ));
    }

    /// The writes so far, as `fsync /var/lib/…`.
    #[track_caller]
    pub fn writes(&self) -> Vec<String> {
        self.lines(TRACE)
    }

    /// Those of them that have failed.
    #[track_caller]
    pub fn refused(&self) -> Vec<String> {
        self.lines(REFUSED)
    }

    #[track_caller]
    fn lines(&self, file: &str) -> Vec<String> {
        let text = self.host.read(file);
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }
}

fn library() -> Result<std::path::PathBuf> {
    let directory = cache::build_once("disk", &cache::key([SOURCE]), |partial| {
        std::fs::create_dir_all(partial)?;
        let source = partial.join("disk.c");
        std::fs::write(&source, SOURCE)?;
        let options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"].map(AsRef::as_ref);
        let library = partial.join("disk.so");
        machine::run(
            "cc",
            &[&options[..], &[library.as_os_str(), source.as_os_str()]].concat(),
        )
        .map(drop)
    })?;
    Ok(directory.join("disk.so"))
}
