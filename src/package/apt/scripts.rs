//! Recognises dpkg's maintainer scripts by their processes.

use crate::exec::ProcessInfo;
use crate::package::script::Script;

/// Where the scripts of installed packages lie, `PACKAGE.KIND` or `PACKAGE:ARCHITECTURE.KIND`.
const INFO: &str = "/var/lib/dpkg/info/";

/// Where those of a package lie that is being unpacked.
const COMING: &str = "/var/lib/dpkg/tmp.ci/";

/// The script that this process runs. debconf runs it as an argument of its own frontend. One that is still
/// being unpacked does not have the package in its path, but in its environment: dpkg(1),
/// `DPKG_MAINTSCRIPT_PACKAGE`.
pub fn of(process: &ProcessInfo) -> Option<Script> {
    let script = Script::below(process, &[INFO, COMING])?;
    let in_path = script.name.strip_prefix(INFO).and_then(|file| {
        let (package, _kind) = file.rsplit_once('.')?;
        package.split(':').next()
    });
    let mut variables = process.environment.iter();
    let told = || variables.find_map(|pair| pair.strip_prefix("DPKG_MAINTSCRIPT_PACKAGE="));
    Some(Script {
        package: in_path.or_else(told).map(str::to_owned),
        ..script
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(arguments: &[&str]) -> Option<(Option<String>, String)> {
        let process = ProcessInfo {
            pid: 1,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            environment: vec!["DPKG_MAINTSCRIPT_PACKAGE=coming".into()],
        };
        of(&process).map(|script| (script.package, script.name))
    }

    #[test]
    fn a_script_is_told_by_its_path() {
        for (arguments, package) in [
            (
                &["/bin/sh", "/var/lib/dpkg/info/man-db.postinst", "triggered"][..],
                "man-db",
            ),
            (
                &["/var/lib/dpkg/info/libc6:amd64.postinst", "configure"],
                "libc6",
            ),
            (
                &[
                    "/usr/bin/perl",
                    "-w",
                    "/usr/share/debconf/frontend",
                    "/var/lib/dpkg/info/g++.config",
                ],
                "g++",
            ),
            (
                &["/bin/sh", "/var/lib/dpkg/tmp.ci/preinst", "upgrade", "1"],
                "coming",
            ),
        ] {
            let (found, name) = script(arguments).unwrap();
            assert_eq!(found.as_deref(), Some(package));
            assert!(arguments.contains(&name.as_str()));
        }
        assert_eq!(script(&["cat", "/run/fifo"]), None);
        assert_eq!(script(&["dpkg", "--configure", "-a"]), None);
    }
}
