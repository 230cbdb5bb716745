//! A program to run: a value, built up before it is started.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::cache::ProgramCache;

/// How long what may wait for everybody else may take.
const IDLE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// A program to run: absolute path, arguments, limits. Pure value; [`Program::run`] starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub(super) path: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) limit: Option<Duration>,
    pub(super) status_option: Option<&'static str>,
    pub(super) log: Option<PathBuf>,
    pub(super) input: Option<Vec<u8>>,
    pub(super) directory: PathBuf,
    pub(super) environment: Vec<(String, String)>,
    pub(super) die_with_parent: bool,
    pub(super) signal: Signal,
    pub(super) bare: bool,
    pub(super) cache: Option<ProgramCache>,
}

impl Program {
    /// A program by its absolute path.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            limit: None,
            status_option: None,
            log: None,
            input: None,
            directory: "/".into(),
            environment: Vec::new(),
            die_with_parent: false,
            signal: Signal::TERM,
            bare: false,
            cache: None,
        }
    }

    /// A program that everybody else's work comes before: nice(1), ionice(1). It has an hour: from a mirror
    /// that trickles it would go on for days, and what is left is done another time.
    pub fn idle(path: impl AsRef<OsStr>) -> Self {
        Self::new("/usr/bin/nice")
            .args(["-n", "19", "/usr/bin/ionice", "-c", "3"])
            .arg(path)
            .limit(IDLE_LIMIT)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// The time after which the whole process group is ended.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Gives the child a pipe for status lines; `-o OPTION=FD` goes in front of its arguments.
    #[must_use]
    pub fn status_pipe(mut self, option: &'static str) -> Self {
        self.status_option = Some(option);
        self
    }

    /// Lets the child write both its outputs to the end of this file, from which they are read back:
    /// unlike a pipe's, its writer survives us.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// What it reads from its standard input, which is `/dev/null` unless it is said.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// The directory it starts in, `/` unless it is said.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        // a NUL would keep the program from being started at all
        self.environment
            .push((name.to_owned(), value.replace('\0', " ")));
        self
    }

    /// The program keeps what it makes of the file `source` in the file `cache`, and tells whether that is current by
    /// the whole seconds of the source's date. A cache that may be older than the source is removed before the
    /// program is started.
    #[must_use]
    pub fn cache(mut self, cache: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Self {
        self.cache = Some(ProgramCache {
            file: cache.into(),
            source: source.into(),
        });
        self
    }

    /// Ends the program, and all it has started, when we die, however that happens: for what fetches.
    /// Without it a worker that is killed leaves its `apt-get update` behind, without our limit, holding
    /// apt's lock for as long as a slow mirror likes. What changes packages is never leashed.
    #[must_use]
    pub fn die_with_parent(mut self) -> Self {
        self.die_with_parent = true;
        self
    }

    /// Has the program told to end by INT, not TERM: for one that cleans up after that only.
    #[must_use]
    pub fn interrupted(mut self) -> Self {
        self.signal = Signal::INT;
        self
    }

    /// Leaves the program `PATH` of the usual environment, and what was added to it: what is good for a
    /// package manager may not be for a program of the administrator's.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// The arguments, for tests of the builders and for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let words = std::iter::once(&self.path).chain(&self.arguments);
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}
