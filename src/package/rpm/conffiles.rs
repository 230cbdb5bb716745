//! Configuration files that the administrator has changed, and so has the update: rpm leaves both, and says
//! so once.

/// What is left to be merged, from a line such as `warning: /etc/demo.conf created as
/// /etc/demo.conf.rpmnew`, or `saved as` with `.rpmsave` or `.rpmorig` (rpm 4.20 under dnf 4, dnf 5 and
/// zypper, which print it with different beginnings and ends).
pub fn note(line: &str) -> Option<String> {
    let (before, after) = [" created as ", " saved as "]
        .iter()
        .find_map(|verb| line.split_once(verb))?;
    let file = &before[before.find('/')?..];
    let other = after.split(['<', ' ']).next()?;
    match other.strip_prefix(file)? {
        ".rpmnew" => Some(format!(
            "{file} was changed here and is kept; the new version is {other}"
        )),
        ".rpmsave" | ".rpmorig" => Some(format!(
            "{file} is the new version; what was changed here is {other}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines() {
        for line in [
            "warning: /etc/demo.conf created as /etc/demo.conf.rpmnew",
            ">>> [RPM] /etc/demo.conf created as /etc/demo.conf.rpmnew",
            "<message type=\"info\">warning: /etc/demo.conf created as /etc/demo.conf.rpmnew</message>",
        ] {
            let said = note(line).unwrap();
            assert!(
                said.starts_with("/etc/demo.conf was changed here"),
                "{said}"
            );
            assert!(said.ends_with(" /etc/demo.conf.rpmnew"), "{said}");
        }
        let saved = note("warning: /etc/demo.conf saved as /etc/demo.conf.rpmsave").unwrap();
        assert!(saved.ends_with("what was changed here is /etc/demo.conf.rpmsave"));
        for line in ["", "saved as", "x created as y", "/a created as /b.rpmnew"] {
            assert_eq!(note(line), None, "{line}");
        }
    }
}
