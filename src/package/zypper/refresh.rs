//! A refresh, and what it says of each repository.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::arguments;
use super::document;
use super::output::ZypperRun;
use super::scope::{enabled, indexes};
use crate::exec::ExitReason;
use crate::package::rpm::{database_cache, repositories};
use crate::package::{Observer, RefreshReport, Source, TransactionEnd, lock};

/// The time a refresh may take, its waiting for zypper's lock included.
const LIMIT: Duration = Duration::from_secs(120);

/// What was heard: why repositories failed, by alias, and failures of no repository.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ZypperRefreshReport {
    pub repositories: BTreeMap<String, String>,
    /// Those of them that lack nothing else than files that no update depends on.
    pub lacking_extras: BTreeSet<String>,
    /// Everything else that zypper called an error, while it called the refresh a success.
    pub notes: Vec<String>,
    pub errors: Vec<String>,
}

/// Fetches the index of every enabled repository.
pub fn run(observer: &mut dyn Observer) -> Result<RefreshReport> {
    database_cache::read_ahead();
    let report = fetch(observer)?;
    let (enabled, indexes) = (enabled(), indexes());
    let mut errors = report.errors;
    if enabled.is_empty() && errors.is_empty() {
        errors.push("no repository is enabled; see 'zypper repos'".to_owned());
    }
    let sources: Vec<Source> = enabled
        .iter()
        .map(|repository| {
            let id = &repository.id;
            let error = report.repositories.get(id).cloned();
            let source = repositories::source(id, Some(repository), error, &indexes);
            if report.lacking_extras.contains(id) {
                repositories::lacking_extras(source, "zypper")
            } else {
                source
            }
        })
        .collect();
    Ok(RefreshReport::of(sources, errors, is_network_error).noting(report.notes))
}

/// Refreshes every repository; tried again while another process holds zypper's lock.
fn fetch(observer: &mut dyn Observer) -> Result<ZypperRefreshReport> {
    lock::retry_within((LIMIT, Instant::now()), observer, |left, observer| {
        let program = arguments::refresh().limit(left);
        let mut run = ZypperRun::new(observer);
        let finished = program.run(&mut run)?;
        let outcome = run.finish(finished.exit_reason);
        match finished.exit_reason {
            ExitReason::Exited(_) => {}
            ExitReason::TimedOut => bail!(
                "zypper was ended after {} s; a repository does not answer, or too slowly",
                LIMIT.as_secs(),
            ),
            ExitReason::Killed(_) | ExitReason::Stopped => bail!("{}", program.failure(&finished)),
        }
        Ok(match outcome.locked {
            Some(holder) => Err(holder),
            None => Ok(parse(&outcome.document, &outcome.ended)),
        })
    })
}

fn parse(document: &str, ended: &TransactionEnd) -> ZypperRefreshReport {
    let mut report = ZypperRefreshReport::default();
    for message in document::messages(document, "error") {
        if message.contains(OF_SERVICE) {
            let lines: Vec<&str> = message.lines().map(str::trim).collect();
            report.notes.push(lines.join(" ").trim().to_owned());
        } else if let Some((alias, why)) = of_repository(&message) {
            if lacks_extras(&message) {
                report.lacking_extras.insert(alias.clone());
            }
            report.repositories.entry(alias).or_insert(why);
        }
    }
    if let (TransactionEnd::Failed(why) | TransactionEnd::FetchFailed(why), true) =
        (ended, report.repositories.is_empty())
    {
        report.errors.push(why.clone());
    }
    report
}

/// What a message says when a service could not list its repositories (zypper(8), "SERVICES"); those it listed
/// before are refreshed all the same, and that is a success (measured).
const OF_SERVICE: &str = "Problem retrieving the repository index file for service";

/// Whether the files that a message names are all such as no update depends on.
fn lacks_extras(message: &str) -> bool {
    let words = message.split([' ', '\'', '\n']);
    let mut files = words.filter(|word| word.contains(".xml")).peekable();
    files.peek().is_some() && files.all(repositories::is_extra)
}

/// The repository a message is about, named in a line such as `[two|http://x/] Failed to retrieve new
/// repository metadata.`, and what is nearest to the cause (recorded with zypper 1.14.89).
fn of_repository(message: &str) -> Option<(String, String)> {
    let line = message.lines().find(|line| line.starts_with('['))?;
    let alias = line.strip_prefix('[')?.split('|').next()?.to_owned();
    let lines = || message.lines().map(str::trim);
    let detail = lines().filter_map(|l| l.strip_prefix("- ")).next_back();
    let error = lines().find_map(|line| line.strip_prefix("Error message: "));
    let why = match (detail, error) {
        (Some(detail), Some(error)) => format!("{} {error}", detail.trim_end_matches(':')),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => line.to_owned(),
    };
    Some((alias, why))
}

/// Whether the failure means that the network, not the repository, is away (texts of libzypp 17.36).
pub fn is_network_error(why: &str) -> bool {
    [
        "Failed to connect",
        "Could not connect",
        "Couldn't connect",
        "Connection failed",
        "Could not resolve host",
        "Timeout exceeded",
        "timed out",
        "Connection reset",
    ]
    .iter()
    .any(|text| why.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_repositories_are_named() {
        // zypper 1.14.89
        let document = "<stream>\n<message type=\"info\">Repository &apos;Lab repository&apos; is up to date.</message>\n\
            <message type=\"error\">Repository &apos;Three&apos; is invalid.\n\
            [three|http://127.0.0.1:9999/x/] Failed to retrieve new repository metadata.\nHistory:\n \
            - [|] Error trying to read from &apos;http://127.0.0.1:9999/x/&apos;\n \
            - Download (curl) error for &apos;http://127.0.0.1:9999/x/content&apos;:\n   \
            Error code: Connection failed\n   \
            Error message: Failed to connect to 127.0.0.1 port 9999 after 0 ms: Could not connect to server\n\
            Please check if the URIs defined for this repository are pointing to a valid repository.\n</message>\n\
            <message type=\"error\">Skipping repository &apos;Three&apos; because of the above error.</message>\n\
            <message type=\"error\">Repository &apos;Two&apos; is invalid.\n\
            [two|http://127.0.0.1:8080/gone/] Failed to retrieve new repository metadata.\nHistory:\n \
            - [two|http://127.0.0.1:8080/gone/] Repository type can&apos;t be determined.\n</message>\n</stream>\n";
        let report = parse(document, &TransactionEnd::Failed("x".into()));
        assert_eq!(report.repositories.len(), 2);
        let three = &report.repositories["three"];
        assert!(is_network_error(three), "{three}");
        assert!(three.contains("http://127.0.0.1:9999/x/content"), "{three}");
        let two = &report.repositories["two"];
        assert!(two.contains("type can't be determined") && !is_network_error(two));
        assert!(report.errors.is_empty());
    }

    #[test]
    fn a_service_is_no_repository() {
        // zypper 1.14.89
        let document = "<message type=\"error\">Problem retrieving the repository index file for service &apos;broken&apos;:\n\
            [broken|file:/usr/lib/zypp/plugins/services/broken] boo\n\n</message>\n";
        let found = parse(document, &TransactionEnd::Done);
        assert!(found.repositories.is_empty() && found.errors.is_empty());
        let [note] = &found.notes[..] else {
            panic!("{found:?}")
        };
        assert!(note.ends_with(
            "service 'broken': [broken|file:/usr/lib/zypp/plugins/services/broken] boo"
        ));
        assert_eq!(
            parse(document, &TransactionEnd::Failed("x".into())).errors,
            ["x"]
        );
    }

    #[test]
    fn what_no_update_depends_on_is_told_from_the_packages() {
        let document = |file: &str| {
            format!(
                "<message type=\"error\">Repository &apos;lab&apos; is invalid.\n\
            [lab|http://x/] Valid metadata not found at specified URL\nHistory:\n \
            - {file} has wrong checksum\n</message>\n"
            )
        };
        let of = |file: &str| parse(&document(file), &TransactionEnd::Failed("x".into()));
        assert!(of("04-updateinfo.xml.gz").lacking_extras.contains("lab"));
        let packages = of("04-primary.xml.gz");
        assert!(packages.lacking_extras.is_empty() && packages.repositories.contains_key("lab"));
    }

    #[test]
    fn a_failure_of_no_repository_is_kept() {
        let report = parse("<stream/>", &TransactionEnd::Failed("no space".into()));
        assert_eq!(report.errors, ["no space"]);
    }
}
