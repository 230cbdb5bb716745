//! Who is at the other end, and how many connections the same user has: asked of the kernel, never of
//! the client.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::api::caller::login_of;
use crate::request::Login;

/// The most connections one user may have at a time. The service manager's own limit counts the users
/// of local sockets only from version 256 on.
pub const MAX_PER_USER: usize = 64;

/// The user who connected, and the login of the process that did.
pub fn who(stream: &UnixStream) -> Result<(u32, Login)> {
    let peer = socket_peercred(stream).context("standard input is not a local socket")?;
    Ok((peer.uid.as_raw(), login_while_alive(peer.pid)))
}

/// The login of a process. Where it ends meanwhile, its number may be another's, and there is none.
fn login_while_alive(pid: Pid) -> Login {
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return Login::default();
    };
    let login = login_of(pid.as_raw_nonzero().get().unsigned_abs());
    let mut ended = [PollFd::new(&handle, PollFlags::IN)];
    match poll(&mut ended, Some(&Timespec::default())) {
        Ok(0) => login,
        _ => Login::default(),
    }
}

/// Whether this user has as many older connections as one may have. Where control groups do not
/// tell, the service manager's limit for all users together is the only one.
pub fn has_too_many() -> bool {
    fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|own| {
            own.lines()
                .find_map(|line| line.strip_prefix("0::").map(str::to_owned))
        })
        .and_then(|own| count_older(Path::new("/sys/fs/cgroup"), &own))
        .is_some_and(|older| older >= MAX_PER_USER)
}

/// The instances of our unit that serve the same user, are alive and were started before us. Only
/// older ones count, so that of many at once the first are served, and not none. The service manager
/// does not start them strictly in order, so of a burst a few more than allowed get in.
fn count_older(root: &Path, own: &str) -> Option<usize> {
    let (slice, own) = own.trim_start_matches('/').rsplit_once('/')?;
    let slice = root.join(slice);
    let own = Instance::parse(own)?;
    let is_older = |name: &str| {
        let other = Instance::parse(name);
        other.is_some_and(|other| other.user == own.user && other.number < own.number)
    };
    let names = fs::read_dir(&slice).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let older = names.filter(|name| is_older(name));
    // a control group stays for a moment when its last process has gone
    let alive = |name: &String| {
        let events = fs::read_to_string(slice.join(name).join("cgroup.events"));
        events.is_ok_and(|events| events.contains("populated 1"))
    };
    Some(older.filter(alive).count())
}

/// What the service manager calls the process of a connection: `NAME@NUMBER-…-USER.service`.
struct Instance<'a> {
    number: u64,
    user: &'a str,
}

impl<'a> Instance<'a> {
    fn parse(unit: &'a str) -> Option<Self> {
        let (_, instance) = unit.strip_suffix(".service")?.split_once('@')?;
        let (number, rest) = instance.split_once('-')?;
        Some(Self {
            number: number.parse().ok()?,
            user: rest.rsplit('-').next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_connections_of_the_same_user_are_counted() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice/system-patch.slice");
        for (name, populated) in [
            ("patch-request@1-10-1000.service", 1),
            ("patch-request@2-11-1000.service", 0),
            ("patch-request@3-77-12-1000.service", 1),
            ("patch-request@4-13-1001.service", 1),
            ("patch-request@10-14-1000.service", 1),
            ("patch-request@11-15-1000.service", 1),
            ("other", 1),
        ] {
            let directory = slice.join(name);
            fs::create_dir_all(&directory).unwrap();
            fs::write(
                directory.join("cgroup.events"),
                format!("populated {populated}\nfrozen 0\n"),
            )
            .unwrap();
        }
        let count = |own: &str| {
            count_older(
                root.path(),
                &format!("/system.slice/system-patch.slice/{own}"),
            )
        };
        assert_eq!(count("patch-request@10-14-1000.service"), Some(2));
        assert_eq!(count("patch-request@1-10-1000.service"), Some(0));
        assert_eq!(count("patch-request@4-13-1001.service"), Some(0));
        assert_eq!(count("session.scope"), None);
        assert_eq!(count_older(root.path(), "/"), None);
        assert_eq!(
            count_older(root.path(), "/nowhere/patch-request@1-2-3.service"),
            None
        );
    }

    #[test]
    fn the_kernel_knows_who_is_there() {
        let (one, _other) = UnixStream::pair().unwrap();
        let (uid, login) = who(&one).unwrap();
        assert_eq!(uid, rustix::process::getuid().as_raw());
        assert_eq!(login, crate::api::caller::own_login());
    }
}
