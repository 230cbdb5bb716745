//! A refresh: every repository's database fetched, read to its end, and reported.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::arguments;
use super::backend::Pacman;
use super::conf::PacmanRepository;
use super::failure::{is_harmless, is_network_error};
use crate::exec::{ExitReason, Finished, Line, OutputHandler, Program};
use crate::package::credentials::redacted;
use crate::package::{Observer, RefreshReport, Report, Source};

/// The time a refresh may take.
const LIMIT: Duration = Duration::from_secs(120);

impl Pacman {
    pub(super) fn fetch(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        if !self.tree.has_begun() {
            // a power cut came between moving the live databases and the upgrade
            self.tree.restore_unless_used()?;
        }
        self.tree.prepare()?;
        let mut listener = PacmanRefreshHandler {
            errors: Vec::new(),
            skipped: Vec::new(),
            observer,
        };
        let program = arguments::refresh(self.tree.path()).limit(LIMIT);
        let (finished, conf) = thread::scope(|threads| {
            let conf = threads.spawn(|| self.read_conf());
            let finished = program.run(&mut listener);
            let conf = conf.join();
            let conf = conf.unwrap_or_else(|_| bail!("reading the configuration failed"));
            (finished, conf)
        });
        let (finished, conf) = (finished?, conf?);
        let said = &listener.errors;
        match finished.exit_reason {
            ExitReason::TimedOut => bail!(
                "pacman -Sy was ended after {} s; a source does not answer, or too slowly",
                LIMIT.as_secs(),
            ),
            ExitReason::Killed(_) | ExitReason::Stopped => bail!("{}", program.failure(&finished)),
            ExitReason::Exited(_) => {}
        }
        // once listed without an error, they need not be read again
        let listed = finished.succeeded() && said.is_empty();
        let wrong = self.tree.check(&conf.repositories, listed)?;
        let mut sources = Vec::new();
        for repository in &conf.repositories {
            let PacmanRepository { name, server, .. } = repository;
            let said = (!finished.succeeded())
                .then(|| failed(repository, said, &listener.skipped))
                .flatten();
            let wrong = wrong.iter().find(|(other, _)| other == name);
            let wrong = wrong.map(|(_, why)| why.clone());
            sources.push(Source {
                uri: server.clone(),
                suite: name.clone(),
                last_success: None,
                index_date: self.tree.date(name),
                error: said.or(wrong),
                went_back: false,
                tolerated: false,
                file: format!("{name}.db"),
            });
        }
        let mut errors = Vec::new();
        if sources.is_empty() {
            errors.push("no repository is configured; see pacman.conf(5)".to_owned());
        } else if !finished.succeeded() && sources.iter().all(|source| source.error.is_none()) {
            errors.push(failure(&program, &finished, said));
        }
        Ok(RefreshReport::of(sources, errors, is_network_error))
    }
}

struct PacmanRefreshHandler<'a> {
    errors: Vec<String>,
    /// Hosts that are not asked any more.
    skipped: Vec<String>,
    observer: &'a mut dyn Observer,
}

impl OutputHandler for PacmanRefreshHandler<'_> {
    fn line(&mut self, line: Line<'_>) {
        // what is listed begins a line with the name of its repository
        if matches!(line, Line::Output(text) if !text.starts_with([':', ' '])) {
            return;
        }
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        let text = redacted(text);
        if let Some(error) = text.strip_prefix("error: ")
            && !is_harmless(error)
        {
            self.errors.push(error.to_owned());
        }
        let skipped = text.strip_prefix("warning: too many errors from ");
        if let Some((host, _)) = skipped.and_then(|rest| rest.split_once(", skipping")) {
            self.skipped.push(host.to_owned());
        }
        self.observer.report(Report::Output(text));
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}

/// Why a database could not be fetched, by what pacman `said` when it could not fetch all of them: a server that
/// fails is no failure of the repository while another one has it, and pacman does not say which has. From three
/// errors on it skips a host without a further word (`lib/libalpm/dload.c`).
fn failed(repository: &PacmanRepository, said: &[String], skipped: &[String]) -> Option<String> {
    let of_database = format!("'{}.db' from ", repository.name);
    let of_file = format!("'{}.db", repository.name);
    let about: Vec<&String> = said
        .iter()
        .filter(|error| error.contains(&of_file))
        .collect();
    let host = |error: &str| {
        let (_, rest) = error.split_once(&of_database)?;
        let (host, _) = rest.split_once(" : ")?;
        Some(host.rsplit('@').next().unwrap_or(host).to_owned())
    };
    let failing: Vec<String> = about.iter().filter_map(|error| host(error)).collect();
    let count = |hosts: &[String], host: &String| hosts.iter().filter(|one| *one == host).count();
    let is_left = |host: &String| {
        count(&failing, host) < count(&repository.hosts, host) && !skipped.contains(host)
    };
    // a signature, say
    let others = about.iter().any(|error| host(error).is_none());
    let known = failing.iter().all(|host| repository.hosts.contains(host));
    let answered = known && !others && repository.hosts.iter().any(is_left);
    about.first().filter(|_| !answered).map(ToString::to_string)
}

fn failure(program: &Program, finished: &Finished, said: &[String]) -> String {
    if said.is_empty() {
        program.failure(finished)
    } else {
        said.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_failed_when_all_its_servers_have() {
        // pacman 7.0
        let line = |file: &str, host: &str| {
            format!(
                "failed retrieving file '{file}' from {host} : The requested URL returned error: 404"
            )
        };
        let hosts = ["a:81", "b", "b"].map(str::to_owned);
        let lab = PacmanRepository {
            name: "lab".into(),
            hosts: hosts.to_vec(),
            ..PacmanRepository::default()
        };
        let why = |said: &[String], skipped: &[&str]| {
            let skipped: Vec<String> = skipped.iter().map(ToString::to_string).collect();
            failed(&lab, said, &skipped)
        };
        let (a, b) = (line("lab.db", "a:81"), line("lab.db", "b"));
        let other = line("other.db", "b");
        assert_eq!(why(&[other.clone(), other.clone()], &[]), None);
        assert_eq!(why(&[a.clone(), b.clone(), other], &[]), None);
        assert_eq!(why(&[a.clone(), b.clone(), b], &[]), Some(a.clone()));
        assert_eq!(why(std::slice::from_ref(&a), &["b"]), Some(a));
        let elsewhere = line("lab.db", "c");
        assert_eq!(why(std::slice::from_ref(&elsewhere), &[]), Some(elsewhere));
        let signature = line("lab.db.sig", "b");
        assert_eq!(why(std::slice::from_ref(&signature), &[]), Some(signature));
    }
}
