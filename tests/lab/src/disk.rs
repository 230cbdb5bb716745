//! A disk that fails where and when a test wants it to: full, or broken, for our program's own files alone.

use anyhow::Result;

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
        let plan = match fault {
            DiskFault::Full => format!(
                "{write} {} {}",
                u32::MAX,
                rustix::io::Errno::NOSPC.raw_os_error()
            ),
            DiskFault::Broken => {
                format!("{write} {write} {}", rustix::io::Errno::IO.raw_os_error())
            }
        };
        self.host.write(PLAN, plan);
    }

    /// The disk is in order again.
    #[track_caller]
    pub fn heal(&self) {
        self.host.sh(&format!("rm -f {PLAN}"));
    }

    /// The disk is in order, and counts anew.
    #[track_caller]
    pub fn clear(&self) {
        self.host.sh(&format!(
            "rm -f {PLAN}; mkdir -p /run/lab-disk; : >{TRACE}; : >{REFUSED}"
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
