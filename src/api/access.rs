//! Which records a front end must read and write. A front end must not report what it cannot see as healthy.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::paths::{Paths, quoted};

/// Which required record this front end cannot read or write, in one sentence; `None` when it can use all of them.
pub fn lacking(paths: &Paths, records: &[PathBuf]) -> Option<String> {
    let read = Access::READ_OK | Access::EXEC_OK;
    let reads = [
        paths.state(),
        paths.jobs(),
        paths.conflicts(),
        paths.deferred(),
    ];
    let writes = [paths.queue(), paths.tmp(), paths.inquiries(), paths.keys()];
    let mut lacking = Vec::new();
    let mut look = |path: &Path, how: Access, what: &str| {
        if let Err(error) = access(path, how) {
            lacking.push(format!("{what} {} ({})", quoted(path), words(error)));
        }
    };
    for path in &reads {
        look(path, read, "read");
    }
    for path in &writes {
        look(path, read | Access::WRITE_OK, "write to");
    }
    for path in records {
        // a missing record is no fault, and one in an unreadable directory is reported with that directory
        if path.symlink_metadata().is_ok() {
            look(path, Access::READ_OK, "read");
        }
    }
    if lacking.is_empty() {
        return None;
    }
    Some(format!(
        "the services of this package cannot {}, so their reports on the host may be wrong; \
         'systemctl start patch-refresh.service' corrects owners and modes",
        lacking.join(", nor ")
    ))
}

fn words(error: Errno) -> &'static str {
    match error {
        Errno::NOENT => "it does not exist",
        Errno::ACCESS | Errno::PERM => "permission denied",
        Errno::ROFS => "the file system is read-only",
        Errno::NOTDIR => "it is not a directory",
        _ => "it cannot be examined",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        crate::queue::prepare(&paths).unwrap();
        assert_eq!(lacking(&paths, &[paths.state().join("cache.json")]), None);
        std::fs::remove_dir(paths.queue()).unwrap();
        let said = lacking(&paths, &[]).unwrap();
        assert!(
            said.contains("cannot write to") && said.contains("queue' (it does not exist)"),
            "{said}"
        );
    }
}
