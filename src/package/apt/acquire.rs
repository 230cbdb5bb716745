//! Reads the messages between `apt-get update` and its download methods, which name every index, checksum and failure.

use std::path::Path;

use super::index_request::{IndexAnswer, IndexRequest};
use super::protocol::Message;
use super::source_report::{AptRefreshReport, SourceReport};
use crate::package::credentials::redacted;

/// apt's message for a failed hook, and the one that follows it (`RunScripts` of apt-pkg).
const HOOK: &str = "Problem executing scripts ";
const HOOK_ENDED: &str = "Sub-process returned an error code";

/// Reads the run line by line.
#[derive(Debug, Default)]
pub struct AcquireReader {
    requests: Vec<IndexRequest>,
    /// The addresses of lists of packages, each with the name of its file.
    packages: Vec<(String, String)>,
    /// The addresses of everything else that indexes lead to: what packages contain, translations, pictures.
    extras: Vec<String>,
    errors: Vec<String>,
    warnings: Vec<String>,
    hooks: Vec<String>,
}

impl AcquireReader {
    /// Takes one line of either stream.
    pub fn line(&mut self, line: &str) {
        if let Some(message) = line.strip_prefix(" -> ") {
            self.asked(&Message::parse(message));
        } else if let Some(message) = line.strip_prefix(" <- ") {
            self.answered(&Message::parse(message));
        } else if let Some(error) = line.strip_prefix("E: ") {
            self.error(redacted(error));
        } else if let Some(warning) = line.strip_prefix("W: ") {
            self.warnings.push(redacted(warning));
        }
    }

    /// Whether a line is a message to or from a method; these are not for the log, and contain the configuration.
    #[must_use]
    pub fn is_protocol(line: &str) -> bool {
        line.starts_with(" -> ")
            || line.starts_with(" <- ")
            || line.starts_with("Version:")
            || line.starts_with("Starting method ")
            || line.starts_with("Configured access method ")
    }

    /// Whether with this line apt sends a request to a method.
    #[must_use]
    pub fn is_request(line: &str) -> bool {
        line.starts_with(" -> ")
    }

    /// Who holds a lock that stopped the run, in apt's words.
    #[must_use]
    pub fn lock_holder(&self) -> Option<&str> {
        self.errors
            .iter()
            .map(String::as_str)
            .find(|error| error.starts_with("Could not get lock"))
    }

    /// What the run reported of each source.
    #[must_use]
    pub fn finish(self) -> AptRefreshReport {
        let mut report = AptRefreshReport {
            hooks: self.hooks,
            ..AptRefreshReport::default()
        };
        for request in &self.requests {
            let known = |s: &SourceReport| s.uri == request.repository && s.suite == request.suite;
            if !report.sources.iter().any(known) {
                report.sources.push(request.report());
            }
        }
        let is_extra = |error: &str| {
            let asked = error.strip_prefix("Failed to fetch ");
            let uri = asked.and_then(|asked| asked.split(' ').next());
            uri.is_some_and(|uri| self.extras.iter().any(|extra| extra == uri))
        };
        for error in self.errors {
            match named(&mut report.sources, &error) {
                Some(source) if is_extra(&error) => add(&mut source.extras, error),
                Some(source) => add(&mut source.errors, error),
                None => report.errors.push(error),
            }
        }
        for warning in self.warnings {
            if let Some(source) = named(&mut report.sources, &warning) {
                add(&mut source.warnings, warning);
            }
        }
        // apt's summary adds nothing to the errors of the sources
        let is_told =
            |source: &SourceReport| !source.errors.is_empty() || !source.extras.is_empty();
        if report.sources.iter().any(is_told) {
            report
                .errors
                .retain(|error| !error.starts_with("Some index files failed to download"));
        }
        report
    }

    fn error(&mut self, error: String) {
        if error.starts_with(HOOK) {
            self.hooks.push(error);
        } else if error != HOOK_ENDED || self.hooks.is_empty() {
            self.errors.push(error);
        }
    }

    /// `600 URI Acquire`: apt wants a file.
    fn asked(&mut self, message: &Message) {
        let (Some(uri), Some(file)) = (message.field("URI"), message.field("Filename")) else {
            return;
        };
        if message.status != "600 URI Acquire" {
            return;
        }
        let file = Path::new(file).file_name().unwrap_or_default();
        let file = file.to_string_lossy().into_owned();
        match uri.strip_suffix("/InRelease") {
            // `store:` and similar methods work on files that were fetched before
            Some(_) if message.method_is_local() => {}
            Some(base) => self.asked_for_index(message, uri, base, file),
            None if file.contains("_Packages") => self.packages.push((redacted(uri), file)),
            None if file.ends_with("Release") || file.ends_with("Release.gpg") => {}
            None => self.extras.push(redacted(uri)),
        }
    }

    /// The index of a source.
    fn asked_for_index(&mut self, message: &Message, uri: &str, base: &str, file: String) {
        // a redirection: the same file from another address
        if let Some(known) = self.requests.iter_mut().find(|r| r.file == file) {
            known.uris.push(redacted(uri));
            return;
        }
        self.requests.push(IndexRequest {
            uris: vec![redacted(uri)],
            repository: redacted(message.field("Target-Repo-URI").unwrap_or(base)),
            suite: message.field("Target-Release").unwrap_or("").to_owned(),
            file,
            answer: IndexAnswer::Pending,
            packages: false,
        });
    }

    fn answered(&mut self, message: &Message) {
        if message.status != "201 URI Done" {
            return;
        }
        let Some(uri) = message.field("URI").map(redacted) else {
            return;
        };
        let hit = message.field("IMS-Hit") == Some("true");
        let sent = message.field("SHA256-Hash").map(str::to_owned);
        let list = self.packages.iter().find(|(known, _)| *known == uri);
        for request in &mut self.requests {
            if request.uris.contains(&uri) {
                request.answer = if hit {
                    IndexAnswer::Unchanged
                } else {
                    IndexAnswer::Sent(sent)
                };
                return;
            }
            // an unsigned index, or one with its signature beside: apt trusts it or refuses it
            if request.releases().any(|release| release == uri) {
                request.answer = IndexAnswer::Unchanged;
                return;
            }
            request.packages |= list.is_some_and(|(_, file)| is_of(&request.file, file));
        }
    }
}

/// Whether a file among apt's lists belongs to the source with that index.
pub fn is_of(index: &str, file: &str) -> bool {
    let prefix = index.strip_suffix("InRelease").unwrap_or(index);
    !prefix.is_empty() && file.starts_with(prefix)
}

/// The source that a message names.
fn named<'a>(sources: &'a mut [SourceReport], message: &str) -> Option<&'a mut SourceReport> {
    // a file that is here already goes by its name
    let local = message.split_once("/partial/").map(|(_, file)| file);
    sources.iter_mut().find(|source| {
        let base = source.uri.trim_end_matches('/');
        let suite = &source.suite;
        let mut places = source.places.iter();
        places.any(|place| message.contains(&format!("{place}/")))
            || message.contains(&format!("{base}/dists/{suite}/"))
            || message.contains(&format!("{base} {suite} "))
            || message.contains(&format!("{base}/{suite}"))
            || local.is_some_and(|file| is_of(&source.file, file))
    })
}

/// Adds a message that is not there yet.
fn add(messages: &mut Vec<String>, message: String) {
    if !messages.contains(&message) {
        messages.push(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = " -> http:600%20URI%20Acquire%0aURI:%20http://u:p@127.0.0.1:8080/dists/stable/InRelease%0aFilename:%20/var/lib/apt/lists/partial/127.0.0.1:8080_dists_stable_InRelease%0aTarget-Type:%20index%0aTarget-Release:%20stable%0aTarget-Repo-URI:%20http://u:p@127.0.0.1:8080/%0a%0a";
    const SENT: &str = " <- http:201%20URI%20Done%0aSHA256-Hash:%20abc%0aFilename:%20/x%0aURI:%20http://u:p@127.0.0.1:8080/dists/stable/InRelease";

    fn report(lines: &[&str]) -> AptRefreshReport {
        let mut reader = AcquireReader::default();
        lines.iter().for_each(|line| reader.line(line));
        reader.finish()
    }

    fn reports(lines: &[&str]) -> (Vec<SourceReport>, Vec<String>) {
        let report = report(lines);
        (report.sources, report.errors)
    }

    #[test]
    fn a_source_is_heard_without_its_password() {
        let (sources, others) = reports(&["Hit:1 x", ASKED, SENT]);
        assert_eq!(sources[0].uri, "http://127.0.0.1:8080/");
        assert_eq!(sources[0].suite, "stable");
        assert_eq!(sources[0].sent.as_deref(), Some("abc"));
        assert!(sources[0].answered && sources[0].errors.is_empty() && others.is_empty());
        assert_eq!(sources[0].source().host(), "127.0.0.1");
    }

    #[test]
    fn a_source_that_redirects_is_one_source() {
        let there = "http://mirror/debian";
        let asked = ASKED.replace(
            "URI:%20http://u:p@127.0.0.1:8080/dists",
            &format!("URI:%20{there}/dists"),
        );
        let sent = SENT.replace("http://u:p@127.0.0.1:8080", there);
        let (sources, others) = reports(&[ASKED, &asked, &sent]);
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].uri, "http://127.0.0.1:8080/");
        assert_eq!(sources[0].sent.as_deref(), Some("abc"));
        assert!(sources[0].answered && others.is_empty());
        let error =
            format!("E: Failed to fetch {there}/dists/stable/main/binary-amd64/Packages  404");
        let (sources, others) = reports(&[ASKED, &asked, &sent, &error]);
        assert_eq!(sources[0].errors.len(), 1);
        assert!(others.is_empty(), "{others:?}");
    }

    #[test]
    fn an_unsigned_index_is_an_answer_too() {
        let unsigned = SENT.replace("InRelease", "Release");
        let (sources, _) = reports(&[ASKED, &unsigned]);
        assert!(sources[0].answered && sources[0].sent.is_none());
    }

    #[test]
    fn errors_find_their_source() {
        for error in [
            "E: Failed to fetch http://127.0.0.1:8080/dists/stable/InRelease  Could not connect",
            "E: Release file for http://127.0.0.1:8080/dists/stable/InRelease is expired (invalid since 1d)",
            "E: The repository 'http://127.0.0.1:8080 stable InRelease' is not signed.",
            "E: Repository 'http://127.0.0.1:8080 stable InRelease' changed its 'Origin' value from 'A' to 'B'",
        ] {
            let sum = "E: Some index files failed to download. They have been ignored, or old ones used instead.";
            let (sources, others) = reports(&[ASKED, error, sum]);
            assert_eq!(sources[0].errors.len(), 1, "{error}");
            assert!(others.is_empty(), "{others:?}");
        }
        let (sources, others) = reports(&[ASKED, "E: Type 'garbage' is not known on line 1"]);
        assert!(sources[0].errors.is_empty() && !sources[0].answered);
        assert_eq!(others.len(), 1);
    }

    #[test]
    fn a_warning_is_heard_beside_the_errors_of_its_source() {
        let warning = "W: An error occurred during the signature verification. The repository is not updated and the previous index files will be used. GPG error: http://127.0.0.1:8080 stable InRelease: BADSIG";
        let (sources, others) = reports(&[ASKED, SENT, warning]);
        assert_eq!(sources[0].warnings.len(), 1);
        assert!(sources[0].errors.is_empty() && others.is_empty());
    }

    /// A request for another file that the index leads to, as apt prints it.
    fn asked_for(uri: &str, file: &str) -> String {
        format!(
            " -> http:600%20URI%20Acquire%0aURI:%20{uri}%0aFilename:%20/var/lib/apt/lists/partial/127.0.0.1:8080_dists_stable_{file}%0a"
        )
    }

    #[test]
    fn what_no_update_depends_on_is_told_from_the_lists_of_packages() {
        let base = "http://127.0.0.1:8080/dists/stable/main";
        let packages = asked_for(
            &format!("{base}/by-hash/SHA256/1"),
            "main_binary-amd64_Packages.xz",
        );
        let contents = asked_for(
            &format!("{base}/by-hash/SHA256/2"),
            "main_Contents-amd64.gz",
        );
        let store =
            "store:/var/lib/apt/lists/partial/127.0.0.1:8080_dists_stable_main_Contents-amd64.gz";
        let stored = asked_for(store, "main_Contents-amd64.lz4").replace("http:600", "store:600");
        let of = |uri: &str| {
            let error = format!("E: Failed to fetch {uri}  Hash Sum mismatch");
            let sum = "E: Some index files failed to download. They have been ignored, or old ones used instead.";
            let (sources, others) =
                reports(&[ASKED, SENT, &packages, &contents, &stored, &error, sum]);
            assert!(others.is_empty(), "{others:?}");
            (sources[0].errors.len(), sources[0].extras.len())
        };
        assert_eq!(of(&format!("{base}/by-hash/SHA256/1")), (1, 0));
        assert_eq!(of(&format!("{base}/by-hash/SHA256/2")), (0, 1));
        assert_eq!(of(store), (0, 1));
        assert_eq!(of(&format!("{base}/by-hash/SHA256/3")), (1, 0), "not known");
    }

    #[test]
    fn a_list_of_packages_is_an_answer_of_its_source() {
        let uri = "file:/srv/packages/./Packages";
        let index = ASKED.replace("127.0.0.1:8080_dists_stable_", "_srv_packages_._");
        let asked = asked_for(uri, "x")
            .replace("127.0.0.1:8080_dists_stable_x", "_srv_packages_._Packages");
        let done = format!(" <- file:201%20URI%20Done%0aURI:%20{uri}%0a");
        assert!(reports(&[&index, &asked, &done]).0[0].packages);
        assert!(!reports(&[&index, &asked]).0[0].packages);
    }

    #[test]
    fn a_hook_that_failed_is_no_error_of_a_source() {
        let hook = "E: Problem executing scripts APT::Update::Post-Invoke 'curl http://127.0.0.1:8080/ping'";
        let report = report(&[ASKED, SENT, hook, "E: Sub-process returned an error code"]);
        assert_eq!(report.hooks, [hook.trim_start_matches("E: ")]);
        assert!(report.errors.is_empty() && report.sources[0].errors.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in "( -> | <- |E: )?[ -~%0a]{0,200}") {
            let _ = report(&[ASKED, &line]);
            let _ = redacted(&line);
        }
    }
}
