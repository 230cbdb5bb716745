//! Whether a process is changing RPM packages: rpm's own lock, and a run that outlived its worker.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use crate::package::{Observer, lock};

/// An argument by which a run of ours is known, in the list of processes and in the history of dnf
/// (`--comment`) and zypper (`--userdata`).
pub const MARK: &str = "linux-patch-api";

/// Where the database is: Fedora and SUSE have moved it.
pub const DATABASES: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];

/// Waits until no transaction of rpm runs, and no package manager that was started by us.
pub fn wait_until_free(observer: &mut dyn Observer) -> Result<()> {
    lock::wait_until_free(observer, || {
        if let Some(run) = run_of_ours(Path::new("/proc"), 0) {
            return Ok(Some(run));
        }
        holder()
    })
}

/// Waits until no transaction of rpm runs; `false` when a stop was asked for first. rpm waits for its lock only on
/// a terminal (rpm 4.20, `rpmlockAcquire`), and takes it after the gate has let everything through.
pub fn wait_for_others(observer: &mut dyn Observer) -> Result<bool> {
    let mut wait = lock::Wait::default();
    while let Some(holder) = holder()? {
        if observer.stop() {
            return Ok(false);
        }
        wait.moment(&holder, lock::RETRY, observer);
    }
    Ok(true)
}

/// Who holds rpm's own lock.
fn holder() -> Result<Option<String>> {
    let mut locks = DATABASES
        .iter()
        .map(|database| Path::new(database).join(".rpm.lock"));
    locks
        .find_map(|lock| lock::holder(&lock).transpose())
        .transpose()
}

/// A package manager of this user, who is root, with the mark among its arguments: any account may use that word.
fn run_of_ours(proc: &Path, user: u32) -> Option<String> {
    let marks = [format!("--comment={MARK}"), format!("--userdata={MARK}")];
    fs::read_dir(proc).ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        if entry.metadata().ok()?.uid() != user {
            return None;
        }
        let arguments = fs::read(entry.path().join("cmdline")).ok()?;
        let is_ours = arguments
            .split(|byte| *byte == 0)
            .any(|argument| marks.iter().any(|mark| mark.as_bytes() == argument));
        is_ours.then(|| format!("process {pid}, which an earlier worker started, is still at work"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_its_mark() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, arguments) in [
            ("7", "/usr/bin/dnf\0upgrade\0"),
            (
                "8",
                "python3\0/usr/bin/dnf\0upgrade\0--comment=linux-patch-api\0",
            ),
            ("self", "x\0--comment=linux-patch-api\0"),
        ] {
            fs::create_dir(proc.path().join(pid)).unwrap();
            fs::write(proc.path().join(pid).join("cmdline"), arguments).unwrap();
        }
        let user = fs::metadata(proc.path()).unwrap().uid();
        let run = |user| run_of_ours(proc.path(), user);
        assert!(run(user).unwrap().contains("process 8"));
        assert_eq!(run(user + 1), None, "somebody else's");
        fs::remove_dir_all(proc.path().join("8")).unwrap();
        assert_eq!(run(user), None);
    }
}
