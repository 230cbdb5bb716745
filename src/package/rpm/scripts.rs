//! Scripts of packages: which one runs, and which failed. RPM says that once, and its database forgets it.

use crate::exec::ProcessInfo;
use crate::package::{PackageId, Script};

/// Where RPM puts a script to run it (`%_tmppath`, rpm 4.20): the name says nothing of the package.
const SCRIPTS: &str = "/var/tmp/rpm-tmp.";

/// The script that this process runs.
pub fn running(process: &ProcessInfo) -> Option<Script> {
    Script::below(process, &[SCRIPTS])
}

/// Who failed, from a line such as `warning: %post(demo-1.1-1.noarch) scriptlet failed, exit status 3`
/// (rpm 4.20 under dnf 4, dnf 5 and zypper, which print it with different beginnings). After a failed
/// `%post` or later the package is installed all the same: dnf 4 exits with 0, zypper with 107, dnf 5
/// with 1 (FACTS 35).
pub fn failed(line: &str) -> Option<(PackageId, String)> {
    let start = line.find('%')?;
    let (script, rest) = line[start..].split_once('(')?;
    let (nevra, rest) = rest.split_once(')')?;
    if !rest.starts_with(" scriptlet failed") || !script[1..].chars().all(char::is_alphanumeric) {
        return None;
    }
    let (nevr, architecture) = nevra.rsplit_once('.')?;
    let mut parts = nevr.rsplitn(3, '-');
    let (_release, _version, name) = (parts.next()?, parts.next()?, parts.next()?);
    let key = PackageId::new(name, architecture);
    Some((key, format!("{script}{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines() {
        let expected = |name: &str, why: &str| {
            let key = PackageId::new(name, "noarch");
            Some((key, why.to_owned()))
        };
        let why = "%post scriptlet failed, exit status 126";
        for line in [
            // dnf 4.23
            "warning: %post(fails-1.1-1.noarch) scriptlet failed, exit status 126",
            // dnf 5.4
            ">>> [RPM] %post(fails-1.1-1.noarch) scriptlet failed, exit status 126",
            // zypper 1.14
            "<message type=\"info\">warning: %post(fails-1.1-1.noarch) scriptlet failed, exit status 126",
        ] {
            assert_eq!(failed(line), expected("fails", why), "{line}");
        }
        assert_eq!(
            failed("error: %prein(a-b-c-2:1.0-1.noarch) scriptlet failed, signal 9"),
            expected("a-b-c", "%prein scriptlet failed, signal 9")
        );
        for line in [
            "",
            "100% | (x) scriptlet failed",
            "%post(x) scriptlet failed",
            "Error in POSTIN scriptlet in rpm package fails",
        ] {
            assert_eq!(failed(line), None, "{line}");
        }
    }
}
