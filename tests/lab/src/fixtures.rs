//! Ready-made packages: the kinds of upgrade, good and bad, that most stories need.

use crate::deb::Deb;
pub use crate::deb::with_version;

/// Nothing but a file that names its version: `/usr/share/NAME/version`.
pub fn plain(name: &str, version: &str) -> Deb {
    Deb::new(name, version).file(
        &format!("/usr/share/{name}/version"),
        format!("{version}\n"),
    )
}

/// A service that runs for ever; started when installed, restarted by every upgrade.
pub fn with_service(name: &str, version: &str) -> Deb {
    serving(
        name,
        version,
        "/bin/sleep infinity",
        &format!("systemctl restart {name}.service"),
    )
}

/// A service that does not stay up, in a package that installs without complaint.
pub fn broken_service(name: &str, version: &str) -> Deb {
    serving(
        name,
        version,
        "/bin/false",
        &format!("systemctl restart {name}.service || true"),
    )
}

/// A service that starts, and dies after this many seconds.
pub fn dying_service(name: &str, version: &str, seconds: &str) -> Deb {
    serving(
        name,
        version,
        &format!("/bin/sh -c 'sleep {seconds}; exit 1'"),
        &format!("systemctl restart {name}.service"),
    )
}

/// A service that dies at once and is started again for ever, below every limit.
pub fn looping_service(name: &str, version: &str) -> Deb {
    serving(
        name,
        version,
        "/bin/false\nRestart=always\nRestartSec=1\n[Unit]\nStartLimitIntervalSec=0",
        &format!("systemctl restart {name}.service || true"),
    )
}

/// A configuration file, `/etc/NAME.conf`, whose default is another in every version.
pub fn with_conffile(name: &str, version: &str) -> Deb {
    plain(name, version).conffile(
        &format!("/etc/{name}.conf"),
        format!("default = {version}\n"),
    )
}

/// Unpacks, but cannot be configured.
pub fn failing_postinst(name: &str, version: &str) -> Deb {
    plain(name, version).postinst(&format!("echo '{name} cannot be configured' >&2\nexit 1"))
}

/// Stays in its postinst, with `/run/lab-slow-started` written, until `/run/lab-release` exists.
pub fn slow(name: &str, version: &str) -> Deb {
    plain(name, version).postinst(
        "touch /run/lab-slow-started\nwhile ! [ -e /run/lab-release ]; do sleep 0.05; done",
    )
}

fn serving(name: &str, version: &str, program: &str, start: &str) -> Deb {
    let unit = format!(
        "[Unit]\nDescription={name} {version} of the lab\n\n[Service]\nExecStart={program}\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    plain(name, version)
        .service(&unit)
        .postinst(&format!(
            "systemctl daemon-reload\nsystemctl enable --quiet {name}.service\n{start}"
        ))
        .prerm(&format!(
            "[ \"$1\" = upgrade ] || systemctl disable --quiet --now {name}.service"
        ))
        .postrm("systemctl daemon-reload")
}
