//! What a refresh of dnf and yum prints of each repository.

use std::collections::{BTreeMap, BTreeSet};

use super::variant::Variant;
use crate::package::rpm::repositories::{self, Repository};
use crate::sorted::InOrder;

/// The repository of dnf 5's own plugin `local`, which holds copies of what was installed: it comes and goes, and no
/// administrator has configured it.
const LOCAL_ID: &str = "_dnf_local";
const LOCAL_NAME: &str = "Local libdnf5 plugin repo";

/// What a refresh reported of each repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnfRefreshReport {
    /// Enabled repositories, by id; the failed ones with why.
    pub repositories: BTreeMap<String, Option<String>>,
    /// Those of the failed ones of which only files could not be fetched that no update depends on.
    pub lacking_extras: BTreeSet<String>,
    /// Failures of no repository.
    pub errors: Vec<String>,
}

/// Reads the output of a refresh line by line.
#[derive(Debug)]
pub struct DnfRefreshReader<'a> {
    variant: Variant,
    configured: &'a [Repository],
    report: DnfRefreshReport,
    /// The repository that the next lines are about.
    about: Option<String>,
    /// Those that dnf 5 has named; none once a name could be that of another one as well.
    named: Option<BTreeSet<String>>,
    /// What dnf 5 complains of below each name. A mirror that fails is no failure while another one answers.
    complaints: Vec<(String, String)>,
}

impl<'a> DnfRefreshReader<'a> {
    pub fn new(variant: Variant, configured: &'a [Repository]) -> Self {
        Self {
            variant,
            configured,
            report: DnfRefreshReport::default(),
            about: None,
            named: Some(BTreeSet::new()),
            complaints: Vec::new(),
        }
    }

    /// Takes one line.
    pub fn line(&mut self, line: &str) {
        let line = &repositories::without_credentials(line);
        match self.variant {
            Variant::Dnf4 => self.dnf4(line),
            Variant::Dnf5 => self.dnf5(line),
            Variant::Yum => self.yum(line),
        }
    }

    /// What a refresh reported of each repository.
    pub fn finish(self) -> DnfRefreshReport {
        self.report
    }

    /// Whether every enabled repository was reported on, so that dnf need not be asked which those are. dnf 4
    /// names them all; of dnf 5 it is known when it has named exactly those that are configured to be.
    pub fn is_complete(&mut self) -> bool {
        let enabled = self.configured.iter().filter(|r| r.enabled);
        let enabled: BTreeSet<String> = enabled.map(|r| r.id.clone()).in_order();
        let complete = match self.variant {
            Variant::Dnf4 => return true,
            Variant::Dnf5 => self.named.take().filter(|named| *named == enabled),
            Variant::Yum => None,
        };
        for repository in self.configured {
            if complete
                .as_ref()
                .is_some_and(|ids| ids.contains(&repository.id))
            {
                self.is_enabled(&repository.id, &repository.name);
            }
        }
        complete.is_some()
    }

    /// A repository of dnf 5 is enabled; with the first complaint below its name, which may be cut off.
    fn is_enabled(&mut self, id: &str, name: &str) {
        let is_about = |(shown, _): &&(String, String)| name.starts_with(shown.as_str());
        let complaint = self.complaints.iter().find(is_about);
        let why = complaint.map(|(_, why)| why.clone());
        let known = self.report.repositories.entry(id.to_owned()).or_default();
        *known = known.take().or(why);
    }

    /// With the repositories that are enabled, where the refresh itself does not name the good ones:
    /// `repo list --json` of dnf 5, `repolist` of yum.
    pub fn enabled(&mut self, listed: &str) {
        if self.variant == Variant::Dnf5 {
            let parsed: Vec<serde_json::Value> =
                serde_json::from_slice(listed.as_bytes()).unwrap_or_default();
            for entry in &parsed {
                let id = entry["id"].as_str().unwrap_or_default();
                if !id.is_empty() && !id.starts_with(LOCAL_ID) {
                    self.is_enabled(id, entry["name"].as_str().unwrap_or_default());
                }
            }
            return;
        }
        for line in listed
            .lines()
            .skip_while(|line| !line.starts_with("repo id"))
            .skip(1)
        {
            // `!updates/7/x86_64   name   1,234`; the mark says that its index is older than it may be
            let id = line.split_whitespace().next().unwrap_or_default();
            let id = id
                .trim_start_matches(['!', '*'])
                .split('/')
                .next()
                .unwrap_or_default();
            if !id.is_empty() && !id.ends_with(':') {
                self.report.repositories.entry(id.to_owned()).or_default();
            }
        }
    }

    fn fails(&mut self, id: &str, why: &str) {
        let known = self.report.repositories.entry(id.to_owned()).or_default();
        // the first is nearest to the cause
        known.get_or_insert_with(|| why.trim().to_owned());
    }

    /// Recorded with dnf 4.23: a repository that answers 404, one that is not there, and a page of HTML in
    /// place of `repomd.xml`.
    fn dnf4(&mut self, line: &str) {
        let about = self.about.take();
        if let Some((id, _)) = line.split_once(": using metadata from ") {
            self.report.repositories.entry(id.to_owned()).or_default();
        } else if let Some(rest) =
            line.strip_prefix("Errors during downloading metadata for repository '")
        {
            self.about = rest.strip_suffix("':").map(str::to_owned);
        } else if let (Some(id), Some(why)) = (&about, line.strip_prefix("  - ")) {
            self.fails(id, why);
        } else if let Some(rest) =
            line.strip_prefix("Error: Failed to download metadata for repo '")
        {
            if let Some((id, why)) = rest.split_once("': ") {
                self.fails(id, why);
                if lacks_extras(why) {
                    self.report.lacking_extras.insert(id.to_owned());
                    // of several mirrors, one may have said something else first
                    let why = why.trim().to_owned();
                    self.report.repositories.insert(id.to_owned(), Some(why));
                }
            }
        } else if let Some(ids) = line.strip_prefix("Ignoring repositories: ") {
            for id in ids.split(", ") {
                self.fails(id, "it was ignored");
            }
        } else if let Some(why) = line.strip_prefix("Error: ") {
            self.report.errors.push(why.to_owned());
        }
    }

    /// Recorded with dnf 5.4: it names a repository by its `name`, cut to the width of a column.
    fn dnf5(&mut self, line: &str) {
        if let Some(why) = line.strip_prefix(">>> ") {
            if let Some(shown) = self.about.clone() {
                self.complaints.push((shown, why.trim().to_owned()));
            }
        } else if let Some(rest) = line.strip_prefix("Failed to download metadata (") {
            let id = rest.split("for repository \"").nth(1);
            let parts = id.and_then(|rest| rest.split_once("\": "));
            if let Some((id, why)) = parts {
                self.fails(id, why);
            }
        } else if line.starts_with(' ') && line.contains('|') {
            let words: Vec<&str> = line
                .split_whitespace()
                .take_while(|word| !word.ends_with('%') && *word != "|")
                .collect();
            let shown = words.join(" ");
            let is_it = |r: &&Repository| r.enabled && r.name.starts_with(&shown);
            let mut repositories = self.configured.iter().filter(is_it);
            let repository = repositories.next();
            match (&mut self.named, repository, repositories.next()) {
                (Some(named), Some(repository), None) => drop(named.insert(repository.id.clone())),
                (_, None, _) if shown == LOCAL_NAME => {}
                _ => self.named = None,
            }
            self.about = Some(shown);
        } else if line.starts_with("Failed to ") {
            self.report.errors.push(line.to_owned());
        }
    }

    /// From the source of yum 3.4 (`yum/yumRepo.py`): `failure: repodata/repomd.xml from updates: [Errno 256]
    /// No more mirrors to try.`, above it `http://…: [Errno 14] HTTP Error 404 - Not Found`.
    fn yum(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("failure: ") {
            let parts = rest
                .split_once(" from ")
                .and_then(|(_, rest)| rest.split_once(": "));
            if let Some((id, why)) = parts {
                let why = self.about.take().unwrap_or_else(|| why.to_owned());
                self.fails(id, &why);
            }
        } else if line.contains("[Errno ") && line.contains("://") {
            self.about = Some(line.to_owned());
        } else if line.starts_with("Error: ") || line.starts_with("There are no enabled repos") {
            self.report
                .errors
                .push(line.trim_start_matches("Error: ").to_owned());
        }
    }
}

/// Whether dnf 4 says of files alone that no update depends on that it cannot fetch them:
/// `Downloading error(s): repodata/5e-updateinfo.xml.gz - Cannot download, ...; repodata/...`.
fn lacks_extras(why: &str) -> bool {
    let files = why
        .split_once("Downloading error(s): ")
        .map(|(_, files)| files);
    let mut files = files
        .into_iter()
        .flat_map(|files| files.split("; "))
        .peekable();
    files.peek().is_some()
        && files.all(|file| repositories::is_extra(file.split(" - ").next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variant: Variant, output: &str, listed: &str) -> DnfRefreshReport {
        let configured = [Repository {
            id: "two".into(),
            name: "Two of a name that is cut off somewhere".into(),
            uri: String::new(),
            enabled: true,
            ..Repository::default()
        }];
        let mut reader = DnfRefreshReader::new(variant, &configured);
        output.lines().for_each(|line| reader.line(line));
        reader.enabled(listed);
        reader.finish()
    }

    #[test]
    fn dnf_4_names_every_repository() {
        let report = parse(
            Variant::Dnf4,
            "reviving: 'lab' can be revived - repomd matches.\n\
            lab: using metadata from Sat Nov 21 05:40:32 2026.\n\
            error: Status code: 404 for http://127.0.0.1:8080/repo2/repodata/repomd.xml (IP: 127.0.0.1)\n\
            Failed loading plugin \"system_upgrade\": No module named 'systemd'\n\
            Errors during downloading metadata for repository 'two':\n  \
            - Status code: 404 for http://u:p@127.0.0.1:8080/repo2/repodata/repomd.xml (IP: 127.0.0.1)\n\
            Error: Failed to download metadata for repo 'two': Cannot download repomd.xml: All mirrors were tried\n\
            Error: Failed to download metadata for repo 'html': repomd.xml parser error: Element <repomd> was not found - Bad repomd file\n\
            Ignoring repositories: two, html, three\n",
            "",
        );
        assert_eq!(report.repositories["lab"], None);
        let why = |id: &str| report.repositories[id].clone().unwrap();
        assert_eq!(
            why("two"),
            "Status code: 404 for http://127.0.0.1:8080/repo2/repodata/repomd.xml (IP: 127.0.0.1)"
        );
        assert!(why("html").contains("parser error"));
        assert_eq!(why("three"), "it was ignored");
        assert!(report.errors.is_empty());
    }

    #[test]
    fn dnf_5_names_failed_repositories_by_a_cut_name() {
        let report = parse(
            Variant::Dnf5,
            "Updating and loading repositories:\n \
            Two of a name that is cut off          100% |  93.5 KiB/s |   1.3 KiB |  00m00s\n\
            >>> Status code: 404 for http://127.0.0.1:8080/repo2/repodata/repomd.xml (IP: 127.0.0.1)\n\
            >>> Usable URL not found\n \
            Lab repository                         100% | 309.1 KiB/s |   6.8 KiB |  00m00s\n\
            Repositories loaded.\n",
            r#"[{"id":"lab","name":"Lab repository","is_enabled":true},{"id":"two","name":"Two of a name that is cut off somewhere"},{"id":"_dnf_local","name":"x"}]"#,
        );
        assert_eq!(report.repositories["lab"], None);
        assert!(
            report.repositories["two"]
                .as_ref()
                .unwrap()
                .starts_with("Status code: 404")
        );
        assert_eq!(report.repositories.len(), 2);
    }

    #[test]
    fn dnf_5_is_complete_when_it_has_named_exactly_what_is_configured() {
        let repository = |id: &str, name: &str, enabled| Repository {
            id: id.into(),
            name: name.into(),
            uri: String::new(),
            enabled,
            ..Repository::default()
        };
        let off = repository("off", "Lab", false);
        let told = |configured: &[Repository], names: &[&str]| {
            let mut reader = DnfRefreshReader::new(Variant::Dnf5, configured);
            for name in names {
                reader.line(&format!(
                    " {name}   100% |  93.5 KiB/s |   1.3 KiB |  00m00s"
                ));
            }
            let complete = reader.is_complete();
            let ids: Vec<String> = reader.finish().repositories.into_keys().collect();
            (complete, ids.join(" "))
        };
        let two = [
            repository("lab", "Lab", true),
            off,
            repository("more", "More", true),
        ];
        // it names one again when it has fetched its key
        let all = (true, "lab more".to_owned());
        assert_eq!(told(&two, &["Lab", "More", "Lab"]), all);
        assert_eq!(told(&two, &["Lab", "More", LOCAL_NAME]), all);
        let mut reader = DnfRefreshReader::new(Variant::Dnf5, &two);
        for line in [
            " Lab 100% | x |",
            " Local libdnf5 plugin repo 100% | x |",
            ">>> broken",
        ] {
            reader.line(line);
        }
        reader.enabled(r#"[{"id":"lab","name":"Lab"}]"#);
        let report = reader.finish().repositories;
        assert_eq!(report.len(), 1);
        assert_eq!(report["lab"], None, "it is not what is broken");
        assert!(
            !told(&two, &["Lab"]).0,
            "one is configured otherwise elsewhere"
        );
        assert!(!told(&two, &["Lab", "More", "Else"]).0);
        let alike = [
            repository("one", "Same beginning 1", true),
            repository("two", "Same beginning 2", true),
        ];
        assert!(!told(&alike, &["Same beginning", "Same beginning"]).0);
    }

    #[test]
    fn a_name_that_only_dnf_5_can_write_out_is_found() {
        let mut reader = DnfRefreshReader::new(Variant::Dnf5, &[]);
        for line in [" Fedora 42 - x86_64 100% | x |", ">>> Status code: 404"] {
            reader.line(line);
        }
        assert!(!reader.is_complete());
        reader.enabled(r#"[{"id":"fedora","name":"Fedora 42 - x86_64"}]"#);
        let report = reader.finish().repositories;
        assert_eq!(report["fedora"].as_deref(), Some("Status code: 404"));
        assert_eq!(report.len(), 1);
    }

    #[test]
    fn yum_3_as_its_source_says() {
        let report = parse(
            Variant::Yum,
            "http://x/repodata/repomd.xml: [Errno 14] HTTP Error 404 - Not Found\nTrying other mirror.\n\
            failure: repodata/repomd.xml from two: [Errno 256] No more mirrors to try.\n",
            "repo id              repo name      status\n!base/7/x86_64    CentOS   10,072\n*updates/7   x   1\ntwo   y  0\nrepolist: 10,073\n",
        );
        let ids: Vec<&str> = report.repositories.keys().map(String::as_str).collect();
        assert_eq!(ids, ["base", "two", "updates"]);
        assert!(report.repositories["two"].as_ref().unwrap().contains("404"));
    }

    #[test]
    fn dnf_4_says_which_files_it_lacks() {
        let of = |files: &str| {
            lacks_extras(&format!(
                "Yum repo downloading error: Downloading error(s): {files}"
            ))
        };
        let why = "Cannot download, all mirrors were already tried without success";
        assert!(of(&format!("repodata/04-updateinfo.xml.gz - {why}")));
        assert!(of(&format!(
            "repodata/04-filelists.xml.gz - {why}; repodata/04-updateinfo.xml.gz - {why}"
        )));
        assert!(!of(&format!(
            "repodata/04-updateinfo.xml.gz - {why}; repodata/04-primary.xml.gz - {why}"
        )));
        assert!(!lacks_extras(
            "Cannot download repomd.xml: All mirrors were tried"
        ));
    }
}
