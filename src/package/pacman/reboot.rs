//! Why a host that pacman updates should be rebooted: a kernel without its modules, a library that every
//! process has.

use std::fs;
use std::path::Path;

use super::database;
use crate::package::boot::{self, TakenBack};

/// Packages whose update takes effect with the next start only, and is not seen by their files.
const EVERYWHERE: [&str; 2] = ["glibc", "systemd"];

/// One reason each. In a container there is no kernel of its own.
pub fn reasons(root: &Path, database: &Path, taken_back: &TakenBack) -> Vec<String> {
    let mut reasons = Vec::new();
    if !root.join("run/systemd/container").exists() {
        reasons.extend(kernel(root));
    }
    let started = boot::started(root);
    for package in EVERYWHERE {
        let reason = format!("{package} was updated");
        let installed = database::find(database, package).and_then(|desc| desc.installed);
        let installed = installed.and_then(|installed| i64::try_from(installed).ok());
        if let (Some(installed), Some(started)) = (installed, started)
            && boot::is_replaced(installed, &reason, started, taken_back)
        {
            reasons.push(reason);
        }
    }
    reasons
}

/// Kernel packages own `/usr/lib/modules/RELEASE/vmlinuz`; an update takes the directory of the running
/// kernel away, and with it every module that is not loaded yet.
fn kernel(root: &Path) -> Option<String> {
    let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).ok()?;
    let modules = root.join("usr/lib/modules");
    let there = |directory: &Path| directory.join("vmlinuz").exists();
    if there(&modules.join(release.trim())) {
        return None;
    }
    let other = fs::read_dir(&modules)
        .ok()?
        .flatten()
        .any(|entry| there(&entry.path()));
    other.then(|| format!("the running kernel {} was replaced", release.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_replaced_kernel_and_a_new_libc_are_reasons() {
        let root = tempfile::tempdir().unwrap();
        let (root, database) = (root.path(), root.path().join("local"));
        let none = TakenBack::new();
        write(root, "proc/stat", "cpu 1 2\nbtime 1000\n");
        write(root, "proc/sys/kernel/osrelease", "6.1.0-arch1\n");
        write(root, "local/ALPM_DB_VERSION", "9\n");
        let glibc =
            |date: u32| format!("%NAME%\nglibc\n\n%VERSION%\n2-1\n\n%INSTALLDATE%\n{date}\n");
        write(root, "local/glibc-2-1/desc", &glibc(999));
        assert_eq!(
            reasons(root, &database, &none),
            [""; 0],
            "no kernel of any package"
        );
        write(root, "usr/lib/modules/6.1.0-arch1/vmlinuz", "");
        assert_eq!(reasons(root, &database, &none), [""; 0]);
        fs::rename(
            root.join("usr/lib/modules/6.1.0-arch1"),
            root.join("usr/lib/modules/6.2"),
        )
        .unwrap();
        write(root, "local/glibc-2-1/desc", &glibc(1001));
        let expected = [
            "the running kernel 6.1.0-arch1 was replaced",
            "glibc was updated",
        ];
        assert_eq!(reasons(root, &database, &none), expected);
        let back = TakenBack::from([("glibc was updated".to_owned(), 1001)]);
        assert_eq!(reasons(root, &database, &back), expected[..1]);
        write(root, "run/systemd/container", "systemd-nspawn");
        assert_eq!(reasons(root, &database, &none), expected[1..]);
    }
}
