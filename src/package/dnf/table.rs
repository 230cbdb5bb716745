//! What dnf and yum print of a transaction before they ask whether it is ok, and their plain lists.

use crate::package::PackageId;
use crate::package::rpm::evr;
use crate::package::rpm::resolution::{Planned, Removal, Resolution};

/// Reads a run's output line by line.
#[derive(Debug, Default)]
pub struct TableReader {
    resolved: Resolution,
    /// Inside the table: the section, and the words of the entry that is not whole yet.
    section: Option<Section>,
    entry: Vec<String>,
    /// Inside the resolver's explanations, which come before the table.
    in_problem: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Packages that would be there in a new version.
    Install,
    Remove,
    /// Updates that are left out.
    Skipped,
    /// Module streams and groups: no packages.
    Other,
}

impl Section {
    /// By its heading (dnf 4 `cli/output.py`, `list_transaction`; dnf 5 and yum 3 print the same words).
    fn of(heading: &str) -> Self {
        let first = heading.split([' ', ':']).next().unwrap_or_default();
        match first {
            "Installing" | "Upgrading" | "Updating" | "Downgrading" | "Reinstalling" => {
                Self::Install
            }
            "Removing" => Self::Remove,
            "Skipping" | "Skipped" => Self::Skipped,
            _ => Self::Other,
        }
    }
}

impl TableReader {
    /// Takes one line.
    pub fn line(&mut self, line: &str) {
        if self.problem(line) {
            return;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(section) = self.section else {
            if words.first() == Some(&"Package") && words.iter().any(|w| w.starts_with("Arch")) {
                self.section = Some(Section::Other);
            }
            return;
        };
        if line.starts_with("Transaction Summary") || line.starts_with("Nothing to do") {
            self.flush(section);
            self.section = None;
        } else if !line.starts_with(' ') {
            self.flush(section);
            if line.ends_with(':') && !line.starts_with('(') {
                self.section = Some(Section::of(line));
            }
        } else if words.first() == Some(&"replacing") {
            self.flush_for_replacing(section, &words);
        } else if line.starts_with("  ") {
            // what does not fit into its column goes on in the next line
            self.entry
                .extend(words.iter().map(|word| (*word).to_owned()));
        } else {
            self.flush(section);
            self.entry = words.iter().map(|word| (*word).to_owned()).collect();
        }
    }

    /// What was read.
    pub fn finish(mut self) -> Resolution {
        if let Some(section) = self.section {
            self.flush(section);
        }
        // a new version of an installonly package is installed beside the others, and the oldest one is removed
        let stays = |removal: &Removal, install: &[Planned]| {
            removal.because.is_none() && install.iter().any(|p| p.key.package == removal.package)
        };
        let install = &self.resolved.install;
        self.resolved
            .remove
            .retain(|removal| !stays(removal, install));
        self.resolved
    }

    /// ` Problem 1: …` (dnf 4) or `Problem 1: …` (dnf 5) and the lines `  - …` below it.
    fn problem(&mut self, line: &str) -> bool {
        let text = line.trim_start();
        if text.starts_with("Problem")
            && let Some((_, summary)) = text.split_once(": ")
        {
            self.in_problem = true;
            self.resolved.problems.push(vec![summary.trim().to_owned()]);
            return true;
        }
        if self.in_problem
            && let Some(detail) = text.strip_prefix("- ")
            && let Some(problem) = self.resolved.problems.last_mut()
        {
            problem.push(detail.trim().to_owned());
            return true;
        }
        self.in_problem = false;
        false
    }

    fn flush(&mut self, section: Section) {
        let entry = std::mem::take(&mut self.entry);
        let [name, architecture, version, repository, size @ ..] = &entry[..] else {
            return;
        };
        let planned = Planned {
            key: PackageId::new(name, architecture),
            evr: evr::shown(version).to_owned(),
            repository: repository.clone(),
            size: bytes(size),
        };
        match section {
            Section::Install => self.resolved.install.push(planned),
            Section::Skipped => self.resolved.skipped.push(planned),
            Section::Remove => self.resolved.remove.push(Removal {
                package: name.clone(),
                evr: Some(evr::shown(version).to_owned()),
                because: None,
            }),
            Section::Other => {}
        }
    }

    /// `replacing  obs.noarch 1.0-1` (dnf 4, yum) or `replacing obs noarch 0:1.0-1 …` (dnf 5, which says
    /// it of the former version of each package, too).
    fn flush_for_replacing(&mut self, section: Section, words: &[&str]) {
        if !self.entry.is_empty() {
            self.flush(section);
        }
        let (Section::Install, Some(new), Some(old)) =
            (section, self.resolved.install.last(), words.get(1))
        else {
            return;
        };
        let (name, architecture) = match words.len() {
            0..=3 => old.rsplit_once('.').unwrap_or((old, "")),
            _ => (*old, words[2]),
        };
        let is_itself = name == new.key.package
            && (architecture == new.key.architecture
                || [architecture, &new.key.architecture].contains(&"noarch"));
        if !is_itself {
            self.resolved.remove.push(Removal {
                package: name.to_owned(),
                evr: None,
                because: Some(new.key.package.clone()),
            });
        }
    }
}

/// Parses a list such as that of `check-update`: `name.architecture version repository`, each entry in a
/// line that is not indented, until the packages that would be replaced.
pub fn list(output: &str) -> Vec<Planned> {
    let mut entries: Vec<Vec<&str>> = Vec::new();
    for line in output.lines() {
        if line.starts_with("Obsoleting") {
            break;
        }
        let words = line.split_whitespace();
        match entries.last_mut() {
            Some(entry) if line.starts_with(' ') => entry.extend(words),
            _ => entries.push(words.collect()),
        }
    }
    entries.iter().filter_map(|entry| listed(entry)).collect()
}

fn listed(entry: &[&str]) -> Option<Planned> {
    let [name, version, repository] = entry else {
        return None;
    };
    let (package, architecture) = name.rsplit_once('.')?;
    if !version.contains('-') {
        return None;
    }
    Some(Planned {
        key: PackageId::new(package, architecture),
        evr: evr::shown(version).to_owned(),
        repository: (*repository).to_owned(),
        size: None,
    })
}

/// The size of a package file as dnf 4 and yum print it, rounded and in units of 1024: `6.1 k`, or `512` for bytes
/// (dnf 4 `cli/format.py`, `format_number`). dnf 5 prints the size of the installed files there, and `B` and `KiB`.
fn bytes(words: &[String]) -> Option<u64> {
    let (number, unit) = match words {
        [number] => (number, ""),
        [number, unit] => (number, unit.as_str()),
        _ => return None,
    };
    let power = ["", "k", "M", "G", "T"].iter().position(|u| *u == unit)?;
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let (whole, tenths): (u64, u64) = (whole.parse().ok()?, tenths.parse().ok()?);
    let scale = 1024_u64.pow(u32::try_from(power).ok()?);
    let tenths = if tenths < 10 { tenths } else { return None };
    Some(whole.checked_mul(scale)? + tenths * scale / 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::fmt::Write as _;

    fn shown(resolved: &Resolution) -> String {
        let mut text = String::new();
        let line = |p: &Planned| format!("{} {} {}", p.key, p.evr, p.repository);
        for planned in &resolved.install {
            let _ = writeln!(text, "install {}", line(planned));
        }
        for planned in &resolved.skipped {
            let _ = writeln!(text, "skipped {}", line(planned));
        }
        for removal in &resolved.remove {
            let _ = writeln!(text, "remove {} for {:?}", removal.package, removal.because);
        }
        for problem in &resolved.problems {
            let _ = writeln!(text, "problem {}", problem.join(" | "));
        }
        text
    }

    fn read(output: &str) -> Resolution {
        let mut reader = TableReader::default();
        output.lines().for_each(|line| reader.line(line));
        reader.finish()
    }

    /// As dnf 4.23 printed it: a name that is too long for its column, an obsoleted package, a conflict
    /// and a dependency that nothing provides.
    const DNF4: &str = include_str!("recorded/dnf4-assumeno.txt");
    /// The same of dnf 5.4.
    const DNF5: &str = include_str!("recorded/dnf5-assumeno.txt");

    #[test]
    fn a_table_of_dnf_4() {
        expect![[r#"
            install obsnew:noarch 2.0-1 lab
            install a-package-with-a-really-long-name-that-does-not-fit-anywhere:noarch 1.1.20260101git0123456789abcdef-1 lab
            install demo:noarch 1.2-1 lab
            install needy:noarch 1.1-1 lab
            install tool:noarch 2:1.2-1 lab
            install libnew:noarch 1.0-1 lab
            skipped rm1:noarch 1.1-1 lab
            skipped unsat:noarch 1.1-1 lab
            remove obs for Some("obsnew")
            problem cannot install the best update candidate for package unsat-1.0-1.noarch | nothing provides nothing-there needed by unsat-1.1-1.noarch from lab
            problem package rm1-1.1-1.noarch from lab conflicts with victim provided by victim-1.0-1.noarch from @System | cannot install the best update candidate for package victim-1.0-1.noarch | cannot install the best update candidate for package rm1-1.0-1.noarch
        "#]].assert_eq(&shown(&read(DNF4)));
    }

    #[test]
    fn a_table_of_dnf_5() {
        expect![[r#"
            install a-package-with-a-really-long-name-that-does-not-fit-anywhere:noarch 1.1.20260101git0123456789abcdef-1 lab
            install badsec:noarch 1.1-1 lab
            install demo:noarch 1.2-1 lab
            install tool:noarch 2:1.2-1 lab
            install obsnew:noarch 2.0-1 lab
            skipped rm1:noarch 1.1-1 lab
            skipped unsat:noarch 1.1-1 lab
            remove obs for Some("obsnew")
            problem cannot install the best update candidate for package unsat-1.0-1.noarch | nothing provides nothing-there needed by unsat-1.1-1.noarch from lab
            problem installed package victim-1.0-1.noarch conflicts with victim provided by rm1-1.1-1.noarch from lab | cannot install the best update candidate for package victim-1.0-1.noarch | cannot install the best update candidate for package rm1-1.0-1.noarch
        "#]].assert_eq(&shown(&read(DNF5)));
    }

    /// The form of yum 3.4 (EL 7), from its documentation and source: `output.py`, `listTransaction`.
    #[test]
    fn a_table_of_yum_3_and_a_kernel_that_takes_the_place_of_the_oldest() {
        let text = "\
Dependencies Resolution

================================================================================
 Package        Arch          Version                      Repository      Size
================================================================================
Installing:
 kernel         x86_64        3.10.0-1160.119.1.el7        updates         50 M
Updating:
 openssl-libs   x86_64        1:1.0.2k-26.el7_9            updates        1.2 M
 a-name-that-is-far-too-long-for-its-column
                noarch        1.0-2.el7                    updates        1.2 M
Removing:
 kernel         x86_64        3.10.0-957.el7               @anaconda       63 M

Transaction Summary
================================================================================
";
        expect![[r"
            install kernel:x86_64 3.10.0-1160.119.1.el7 updates
            install openssl-libs:x86_64 1:1.0.2k-26.el7_9 updates
            install a-name-that-is-far-too-long-for-its-column:noarch 1.0-2.el7 updates
        "]]
        .assert_eq(&shown(&read(text)));
    }

    #[test]
    fn lists_of_dnf_4_and_5() {
        let text = "\n\
a-package-with-a-really-long-name-that-does-not-fit-anywhere.noarch\n                  1.1.2-1 lab    \n\
demo.noarch                                                         1.2-1                             lab    \n\
tool.noarch                                                         2:1.2-1                           lab    \n\
Obsoleting Packages\n\
obsnew.noarch                                                       2.0-1                             lab    \n    \
obs.noarch                                                      1.0-1                             @System\n";
        let names: Vec<String> = list(text)
            .iter()
            .map(|p| format!("{} {}", p.key, p.evr))
            .collect();
        let long = "a-package-with-a-really-long-name-that-does-not-fit-anywhere:noarch 1.1.2-1";
        assert_eq!(names, [long, "demo:noarch 1.2-1", "tool:noarch 2:1.2-1"]);
        let dnf5 = "Upgrades\nbadsec.noarch    1.1-1  lab\ndemo.noarch 1.2-1 lab\n";
        assert_eq!(list(dnf5).len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn any_output_is_survived(text in "[ a-z.:\n0-9-]{0,200}") {
            let _ = read(&format!("Package Arch\n{text}"));
            let _ = list(&text);
        }
    }
}
