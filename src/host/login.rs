//! The login that a process belongs to, which sudo does not change.

use std::fs;
use std::path::Path;

/// What the kernel says for a process that no login has started: `(uid_t) -1`, `getloginuid(3)` of audit.
const UNSET: u32 = u32::MAX;

/// The user as who the person behind a process has logged in, from `/proc/PID/loginuid`, and the session, from its
/// control group.
#[must_use]
pub fn of(proc: &Path, pid: &str) -> (Option<u32>, Option<String>) {
    let read = |name: &str| fs::read_to_string(proc.join(pid).join(name)).unwrap_or_default();
    let uid = read("loginuid").trim().parse().ok();
    (uid.filter(|uid| *uid != UNSET), session(&read("cgroup")))
}

/// The session of logind whose scope the control group is below; pure. The unit of a session is called
/// `session-ID.scope` (systemd, `src/login/logind-session.c`).
fn session(cgroup: &str) -> Option<String> {
    // the unified hierarchy, or the service manager's own
    let mut lines = cgroup.lines();
    let path = lines.find_map(|line| {
        line.strip_prefix("0::")
            .or(line.strip_prefix("1:name=systemd:"))
    })?;
    let mut names = path.split('/');
    let id = names.find_map(|name| name.strip_prefix("session-")?.strip_suffix(".scope"))?;
    let sound = (1..=32).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric());
    sound.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_from_the_control_group() {
        let of = |path: &str| session(&format!("0::{path}\n"));
        assert_eq!(
            of("/user.slice/user-1000.slice/session-c12.scope"),
            Some("c12".to_owned())
        );
        assert_eq!(
            of("/user.slice/user-0.slice/session-3.scope/inner"),
            Some("3".to_owned())
        );
        assert_eq!(of("/system.slice/cron.service"), None);
        assert_eq!(of("/user.slice/session-..scope"), None);
        assert_eq!(
            session("1:name=systemd:/user.slice/session-7.scope\n"),
            Some("7".to_owned())
        );
        assert_eq!(session(""), None);
    }

    #[test]
    fn a_process_without_a_login_has_none() {
        let proc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let directory = proc.path().join("1");
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(name), text).unwrap();
        };
        assert_eq!(of(proc.path(), "1"), (None, None));
        write("loginuid", "4294967295");
        assert_eq!(of(proc.path(), "1"), (None, None));
        write("loginuid", "1000");
        write("cgroup", "0::/user.slice/user-1000.slice/session-2.scope\n");
        assert_eq!(of(proc.path(), "1"), (Some(1000), Some("2".to_owned())));
    }
}
