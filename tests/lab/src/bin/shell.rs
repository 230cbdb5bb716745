//! A root shell on a disposable host that has our package installed and an update waiting in its repository.

use std::env;
use std::process::ExitCode;

use lab::{Host, Manager, Release, Repo, fixtures};

const USAGE: &str =
    "usage: tests/run shell bookworm | trixie | forky | apt | dnf | dnf5 | zypper | pacman";

fn main() -> ExitCode {
    let Some(host) = env::args().nth(1).and_then(|argument| host(&argument)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    host.put_on(&[fixtures::plain("demo", "1.0")]);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.enable(&host);
    eprintln!(
        "demo 1.0 is installed, and {} offers demo 1.1. The host is removed when this shell ends.",
        repo.url()
    );
    match host.shell() {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("shell: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The booted host that a release or a package manager stands for.
fn host(argument: &str) -> Option<Host> {
    let (manager, name) = match argument {
        "bookworm" => return Some(Host::boot(Release::Bookworm)),
        "trixie" | "apt" => return Some(Host::boot(Release::Trixie)),
        "forky" => return Some(Host::boot(Release::Forky)),
        "dnf" => (Manager::Dnf, "dnf"),
        "dnf5" => (Manager::Dnf5, "dnf"),
        "zypper" => (Manager::Zypper, "zypper"),
        "pacman" => (Manager::Pacman, "pacman"),
        _ => return None,
    };
    let host = Host::patched_by(manager).boot();
    // apt is on all of them
    host.write(
        "/etc/linux_patch_api/config.toml",
        format!("backend = \"{name}\"\n"),
    );
    Some(host)
}
