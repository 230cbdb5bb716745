//! What `apt-get -s` and `apt-get upgrade` print: installations, and what is kept back.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::package::Update;
use crate::sorted;

/// A simulated run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// What would be installed.
    pub updates: Vec<Update>,
    /// What would be removed.
    pub removals: Vec<String>,
    /// What has a newer version and stays.
    pub kept: Vec<KeptPackage>,
}

/// A package that stays as it is, as apt names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptPackage {
    /// The name, with an architecture where it is a foreign one.
    pub package: String,
    /// Whether apt said it waits for its turn in a phased rollout.
    pub phased: bool,
}

/// Reads the output line by line, since that is how it comes from a running apt.
#[derive(Debug, Default)]
pub struct SimulationReader {
    listing: Listing,
    heading: Heading,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Heading {
    #[default]
    Other,
    KeptBack,
    Phased,
}

impl SimulationReader {
    /// Takes one line. The headings are apt's own in the C locale, learnt from apt 2.6 and 3.0.
    pub fn line(&mut self, line: &str) -> Result<()> {
        if let Some(names) = line.strip_prefix(' ') {
            self.names(names);
            return Ok(());
        }
        self.heading = if line.ends_with("have been kept back:") {
            Heading::KeptBack
        } else if line.ends_with("have been deferred due to phasing:") {
            Heading::Phased
        } else {
            Heading::Other
        };
        if let Some(rest) = line.strip_prefix("Inst ") {
            let update = installation(rest);
            self.listing
                .updates
                .push(update.with_context(|| unknown(line))?);
        } else if let Some(rest) = line.strip_prefix("Remv ") {
            let package = rest.split(' ').next().unwrap_or(rest);
            self.listing.removals.push(package.to_owned());
        }
        Ok(())
    }

    fn names(&mut self, names: &str) {
        if self.heading == Heading::Other {
            return;
        }
        let phased = self.heading == Heading::Phased;
        let kept = names.split_whitespace().map(|name| KeptPackage {
            package: name.to_owned(),
            phased,
        });
        self.listing.kept.extend(kept);
    }

    /// What the lines said.
    #[must_use]
    pub fn finish(mut self) -> Listing {
        // apt lists an update once for each step when it has to go in several
        let mut seen = BTreeSet::new();
        self.listing
            .updates
            .retain(|update| seen.insert(update.key()));
        sorted::sort(&mut self.listing.kept);
        self.listing.kept.dedup();
        self.listing
    }
}

/// Parses a whole output.
pub fn parse(output: &str) -> Result<Listing> {
    let mut reader = SimulationReader::default();
    for line in output.lines() {
        reader.line(line)?;
    }
    Ok(reader.finish())
}

fn unknown(line: &str) -> String {
    format!("apt-get printed an unexpected line: '{line}'")
}

/// Parses `name [installed] (candidate origins [arch])`, without `[installed]` for a new package.
fn installation(text: &str) -> Result<Update> {
    let (name, rest) = text.split_once(' ').context("no version")?;
    let (installed, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (version, rest) = rest.split_once("] ").context("no end of the old version")?;
            (Some(version.to_owned()), rest)
        }
        None => (None, rest),
    };
    let rest = rest.strip_prefix('(').context("no candidate")?;
    let (inside, _) = rest.split_once("])").context("no end of the candidate")?;
    let (described, architecture) = inside.rsplit_once(" [").context("no architecture")?;
    let (candidate, origin) = described.split_once(' ').unwrap_or((described, ""));
    // a package of a foreign architecture is printed with it
    let package = name.split_once(':').map_or(name, |(package, _)| package);
    if package.is_empty() || candidate.is_empty() || architecture.is_empty() {
        bail!("empty fields");
    }
    Ok(Update {
        package: package.to_owned(),
        architecture: architecture.to_owned(),
        installed,
        candidate: candidate.to_owned(),
        security: is_security(origin),
        origin: origin.to_owned(),
        ..Update::default()
    })
}

/// Whether one of the origins is a security source. apt prints `Label:Version/Suite`, and where the Release file
/// has no `Version:` (aptly, reprepro and apt-ftparchive write none) `Label:Suite`.
fn is_security(origins: &str) -> bool {
    origins.split(", ").any(|origin| {
        let (label, rest) = origin.split_once(':').unwrap_or((origin, ""));
        let suite = rest.rsplit('/').next().unwrap_or(rest);
        label == "Debian-Security" || is_security_suite(suite)
    })
}

/// Whether a suite holds security updates: Debian's source has the label `Debian-Security`, Ubuntu's and those of
/// the derivatives and of mirrors have a suite of such a name.
pub fn is_security_suite(name: &str) -> bool {
    name.ends_with("-security")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    const RECORDED: &str = "\
Reading package lists...
Calculating upgrade...
The following packages have been kept back:
  heldpkg
  zlib1g:i386
The following upgrades have been deferred due to phasing:
  slow1 slow2
The following packages will be upgraded:
  apt
2 upgraded, 1 newly installed, 0 to remove and 4 not upgraded.
Inst libapt-pkg7.0 [3.0.3] (3.0.4 Debian-Security:13/stable-security [amd64])
Conf libapt-pkg7.0 (3.0.4 Debian-Security:13/stable-security [amd64])
Inst linux-image-6.12.57 (6.12.57-1 Debian:13.2/stable, Debian-Security:13/stable-security [amd64])
Inst demo [1.0] (1.1 lab:stable/stable [all]) [broken:amd64 ]
Remv old [1.0]
";

    #[test]
    fn a_recorded_simulation() {
        let listing = parse(RECORDED).unwrap();
        expect![[r#"
            libapt-pkg7.0:amd64 Some("3.0.3") 3.0.4 Debian-Security:13/stable-security true
            linux-image-6.12.57:amd64 None 6.12.57-1 Debian:13.2/stable, Debian-Security:13/stable-security true
            demo:all Some("1.0") 1.1 lab:stable/stable false
        "#]]
        .assert_eq(
            &listing.updates.iter().map(|u| format!("{} {:?} {} {} {}\n", u.key(), u.installed, u.candidate, u.origin, u.security)).collect::<String>(),
        );
        assert_eq!(listing.removals, ["old"]);
        expect![[r"
            heldpkg false
            slow1 true
            slow2 true
            zlib1g:i386 false
        "]]
        .assert_eq(
            &listing
                .kept
                .iter()
                .map(|kept| format!("{} {}\n", kept.package, kept.phased))
                .collect::<String>(),
        );
    }

    #[test]
    fn a_security_suite_is_known_with_a_version_or_without_one() {
        for origin in [
            "Debian-Security:13/stable-security",
            "Debian-Security:stable-security",
            "Ubuntu:24.04/noble-security",
            "Aptly:site-security",
            "Debian:13.2/stable, Site:9/x-security",
        ] {
            assert!(is_security(origin), "{origin}");
        }
        for origin in [
            "Debian:13.2/stable",
            "Lab:stable",
            "",
            "security",
            "x-security:1/stable",
        ] {
            assert!(!is_security(origin), "{origin}");
        }
    }

    #[test]
    fn an_unknown_form_is_an_error_not_an_empty_list() {
        for line in [
            "Inst demo",
            "Inst demo [1.0]",
            "Inst demo [1.0] 1.1",
            "Inst demo (1.1)",
            "Inst  [1.0] (1.1 lab:stable [all])",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_output_is_survived(text in "(Inst |Remv |  )?[a-z\\[\\]() :/,\n]{0,80}") {
            let _ = parse(&text);
        }
    }
}
