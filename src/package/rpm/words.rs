//! The words in which rpm itself says what went wrong: the tools above it print them, and say of the failure only
//! that there was one.

use super::conffiles;

/// What rpm says in a line such as `error: unpacking of archive failed on file /x;6b0d: cpio: rename failed - Device
/// or resource busy` or `error: demo-1.1-1.noarch: install failed` (rpm 4.20; dnf 4 prints it as it is, zypper as a
/// message). dnf 5 puts `>>> [RPM]` in the place of the first word, and does not tell errors from warnings: those
/// that are no part of a failure are known by what they say.
pub fn error(line: &str) -> Option<&str> {
    let of_dnf_5 = || {
        let words = line.strip_prefix(">>> [RPM] ")?;
        (conffiles::note(words).is_none() && !words.starts_with("waiting for ")).then_some(words)
    };
    line.strip_prefix("error: ")
        .or_else(of_dnf_5)
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines() {
        let words = "unpacking of archive failed on file /x;6b0d: cpio: rename failed - Device or resource busy";
        assert_eq!(error(&format!("error: {words}")), Some(words));
        assert_eq!(error(&format!(">>> [RPM] {words}")), Some(words));
        for line in [
            "Error: Transaction failed",
            "  error: x",
            "warning: x",
            ">>> [RPM] /etc/x created as /etc/x.rpmnew",
        ] {
            assert_eq!(error(line), None, "{line}");
        }
    }
}
