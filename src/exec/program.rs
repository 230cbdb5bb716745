//! A program to run: a value, built up before it is started.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::cache::ProgramCache;

/// How long a program at idle priority may take.
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

    /// A program at idle priority: nice(1), ionice(1). Its limit is an hour: a slow mirror could keep it busy for days,
    /// and the next run continues.
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

    /// Lets the child write both its outputs to the end of this file, from which this process reads them: the writer of
    /// a pipe would not survive this process.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// What it reads from its standard input, which is `/dev/null` by default.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// The directory it starts in, `/` by default.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        // a NUL would make the start fail
        self.environment
            .push((name.to_owned(), value.replace('\0', " ")));
        self
    }

    /// The program keeps what it makes of the file `source` in the file `cache`, and compares whole seconds to decide
    /// whether that is current. A cache that may be older than the source is removed before the program is started.
    #[must_use]
    pub fn cache(mut self, cache: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Self {
        self.cache = Some(ProgramCache {
            file: cache.into(),
            source: source.into(),
        });
        self
    }

    /// Ends the program, and all that it has started, when this process dies: for downloads. Without it, a killed
    /// worker leaves its `apt-get update` behind, which has no time limit then and holds apt's lock as long as a slow
    /// mirror takes. Programs that change packages never have it.
    #[must_use]
    pub fn die_with_parent(mut self) -> Self {
        self.die_with_parent = true;
        self
    }

    /// Ends the program by INT instead of TERM, for programs that clean up only after INT.
    #[must_use]
    pub fn interrupted(mut self) -> Self {
        self.signal = Signal::INT;
        self
    }

    /// Gives the program of the usual environment only `PATH`, besides what is added with [`env`](Self::env): variables
    /// for package managers may confuse a program of the administrator.
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
