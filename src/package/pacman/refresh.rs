//! A refresh: every repository's database fetched, read to its end, and told of.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};

use super::backend::Pacman;
use super::conf::{Repository, redacted};
use super::{arguments, output};
use crate::exec::{Ending, Finished, Line, Program, Watch};
use crate::package::{Observer, Refreshed, Report, Source};

/// The time a refresh may take.
const LIMIT: Duration = Duration::from_secs(120);

impl Pacman {
    pub(super) fn fetch(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        if !self.tree.has_begun() {
            // a power cut came between moving the live databases and the upgrade
            self.tree.put_back_unless_used()?;
        }
        self.tree.prepare()?;
        let mut listener = Refresh {
            errors: Vec::new(),
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
        let said = listener.errors;
        match finished.ending {
            Ending::TimedOut => bail!(
                "pacman -Sy was ended after {} s; a source does not answer, or too slowly",
                LIMIT.as_secs(),
            ),
            Ending::Killed(_) | Ending::Stopped => bail!("{}", program.failure(&finished)),
            Ending::Exited(_) => {}
        }
        // once listed without an error, they need not be read again
        let listed = finished.succeeded() && said.is_empty();
        let wrong = self.tree.check(&conf.repositories, listed)?;
        let mut sources = Vec::new();
        for repository in &conf.repositories {
            let Repository { name, server } = repository;
            let of_file = format!("'{name}.db");
            let said = said
                .iter()
                .find(|error| error.contains(&of_file))
                .filter(|_| !finished.succeeded());
            let wrong = wrong
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, why)| why.clone());
            sources.push(Source {
                uri: server.clone(),
                suite: name.clone(),
                last_success: None,
                index_date: self.tree.date(name),
                error: said.cloned().or(wrong),
                went_back: false,
                tolerated: false,
                file: format!("{name}.db"),
            });
        }
        let mut errors = Vec::new();
        if sources.is_empty() {
            errors.push("no repository is configured; see pacman.conf(5)".to_owned());
        } else if !finished.succeeded() && sources.iter().all(|source| source.error.is_none()) {
            errors.push(failure(&program, &finished, &said));
        }
        Ok(Refreshed::of(sources, errors, output::is_network_error))
    }
}

struct Refresh<'a> {
    errors: Vec<String>,
    observer: &'a mut dyn Observer,
}

impl Watch for Refresh<'_> {
    fn line(&mut self, line: Line<'_>) {
        // what is listed begins a line with the name of its repository
        if matches!(line, Line::Output(text) if !text.starts_with([':', ' '])) {
            return;
        }
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        let text = redacted(text);
        if let Some(error) = text.strip_prefix("error: ")
            && !output::is_harmless(error)
        {
            self.errors.push(error.to_owned());
        }
        self.observer.report(Report::Output(text));
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}

fn failure(program: &Program, finished: &Finished, said: &[String]) -> String {
    if said.is_empty() {
        program.failure(finished)
    } else {
        said.join("; ")
    }
}
