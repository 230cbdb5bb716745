//! Whether a reboot is due: a newer kernel than the running one is installed, or what everything else
//! runs on was replaced since the host was started.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::evr;
use crate::package::boot::{self, TakenBack};
use crate::sorted;

/// What cannot be restarted, with the file that tells when it was replaced: the list of dnf's
/// `needs-restarting -r`, which is a plugin that may be missing. A file's change time is when it was
/// put there, whatever date its package gives it.
const CORE: [(&str, &[&str]); 4] = [
    (
        "glibc",
        &[
            "usr/lib64/libc.so.6",
            "lib64/libc.so.6",
            "usr/lib/libc.so.6",
        ],
    ),
    ("systemd", &["usr/lib/systemd/systemd"]),
    ("dbus", &["usr/bin/dbus-broker", "usr/bin/dbus-daemon"]),
    ("linux-firmware", &["usr/lib/firmware/WHENCE"]),
];

/// The reasons, read from the files of the host; no program is started, since every look at the health
/// of the host asks for them.
pub fn reasons(taken_back: &TakenBack) -> Vec<String> {
    let root = Path::new("/");
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    find(root, boot::started(root), running.trim(), taken_back)
}

fn find(root: &Path, started: Option<i64>, running: &str, taken_back: &TakenBack) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(newest) = newest_kernel(&root.join("usr/lib/modules"), running) {
        reasons.push(format!(
            "the kernel {newest} is installed, but {running} is running"
        ));
    }
    let Some(started) = started else {
        return reasons;
    };
    for (name, files) in CORE {
        let reason = format!("{name} was updated");
        let replaced = files
            .iter()
            .filter_map(|file| fs::metadata(root.join(file)).ok())
            .any(|metadata| boot::is_replaced(metadata.ctime(), &reason, started, taken_back));
        if replaced {
            reasons.push(reason);
        }
    }
    reasons
}

/// The newest installed kernel when that is not the running one. A host without the modules of its own
/// kernel, such as a container, has none that it could boot.
fn newest_kernel(modules: &Path, running: &str) -> Option<String> {
    let entries = fs::read_dir(modules).ok()?;
    let mut kernels: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("modules.dep").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    if !kernels.iter().any(|kernel| kernel == running) {
        return None;
    }
    sorted::sort_by(&mut kernels, |one, other| evr::compare(one, other));
    kernels.pop().filter(|newest| newest != running)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_kernel_and_a_new_libc_are_reasons() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        put("usr/lib/modules/6.9.4-200.fc41.x86_64/modules.dep");
        put("usr/lib64/libc.so.6");
        let now = fs::metadata(root.path()).unwrap().ctime();
        let none = TakenBack::new();
        let found = |started: i64| find(root.path(), Some(started), "6.9.4-200.fc41.x86_64", &none);
        assert!(found(now + 100).is_empty());
        assert_eq!(found(now - 100), ["glibc was updated"]);
        let back = |at: i64| TakenBack::from([("glibc was updated".to_owned(), at)]);
        let after = |back: &TakenBack| find(root.path(), Some(now - 100), "", back);
        assert!(after(&back(now)).is_empty(), "it went back");
        assert_eq!(after(&back(now - 1)).len(), 1, "and came again");
        put("usr/lib/modules/6.10.1-200.fc41.x86_64/modules.dep");
        let reasons = found(now + 100);
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].contains("6.10.1") && reasons[0].contains("6.9.4"));
        let container = find(root.path(), None, "6.1.0-cloud", &none);
        assert!(container.is_empty(), "{container:?}");
    }
}
