//! The words of apt, dpkg and our gate that say why a run failed.

/// How our gate begins when it says why it stays shut.
const GATE: &str = "patchctl: ";

/// How dpkg begins an error that goes on in the indented lines below it: `report_error` and `print_abort_error`
/// of lib/dpkg/ehandle.c, and what src/main/ says of dependencies and conflicts before them.
const DPKG: [&str; 7] = [
    "dpkg: error",
    "dpkg: unrecoverable fatal error",
    "dpkg: outside error context",
    "dpkg: an error occurred with no error handling",
    "dpkg: dependency problems prevent ",
    "dpkg: regarding ",
    "dpkg-deb: error",
];

/// Collects them, a line at a time.
#[derive(Debug, Default)]
pub struct ErrorReader {
    errors: Vec<String>,
    /// The line before was dpkg's, and goes on in the next one if that is indented.
    continues: bool,
}

impl ErrorReader {
    /// Takes one line.
    pub fn line(&mut self, text: &str) {
        if self.continues && text.starts_with(' ') {
            if let Some(last) = self.errors.last_mut() {
                last.push(' ');
                last.push_str(text.trim());
            }
            return;
        }
        self.continues = DPKG.iter().any(|beginning| text.starts_with(beginning));
        let words = if self.continues {
            text
        } else if let Some(words) = text.strip_prefix("E: ") {
            words
        // apt itself says of the gate only that it failed
        } else if let Some(words) = text.strip_prefix(GATE) {
            words
        } else {
            return;
        };
        self.errors.push(words.to_owned());
    }

    /// The errors so far.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_error_of_dpkg_s_is_one_with_its_indented_lines() {
        let text = "Unpacking demo (1.1) over (1.0) ...
dpkg: error processing archive /var/cache/apt/archives/demo_1.1_all.deb (--unpack):
 unable to make backup link of './usr/share/demo/version' before installing new version: Invalid cross-device link
Selecting previously unselected package other.
dpkg: unrecoverable fatal error, aborting:
 files list file for package 'other' is missing final newline
dpkg: dependency problems prevent configuration of needy:
 needy depends on demo (>= 1.1); however:
  Version of demo on system is 1.0.

dpkg: warning: nothing of it
 is an error
E: Sub-process /usr/bin/dpkg returned an error code (2)
";
        let mut reader = ErrorReader::default();
        for line in text.lines() {
            reader.line(line);
        }
        expect![[r"
            dpkg: error processing archive /var/cache/apt/archives/demo_1.1_all.deb (--unpack): unable to make backup link of './usr/share/demo/version' before installing new version: Invalid cross-device link
            dpkg: unrecoverable fatal error, aborting: files list file for package 'other' is missing final newline
            dpkg: dependency problems prevent configuration of needy: needy depends on demo (>= 1.1); however: Version of demo on system is 1.0.
            Sub-process /usr/bin/dpkg returned an error code (2)"]]
        .assert_eq(&reader.errors().join("\n"));
    }
}
