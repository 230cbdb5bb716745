//! What a front end may ask the planner: which updates are pending, and what an apply would do. Nothing is changed.
//!
//! A question is a file whose name says what is asked, so that however many callers ask the same at once, it is
//! there once. The planner takes it away before it looks for the answer, which is left in
//! [`findings`](crate::state::findings).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::entries::{is_visible, refuse_in, shown};
use crate::checksum;
use crate::fs::{Unreadable, read_untrusted};
use crate::paths::{Paths, quoted};
use crate::request::{JobId, MAX_ENTRY_BYTES, Target};
use crate::sorted;

/// The most questions that may wait; each takes the package manager about a second.
pub const MAX_WAITING: usize = 64;

/// The name of the question for everything that is pending.
const PENDING: &str = "pending";

/// The name of the question for everything that is installed.
const INSTALLED: &str = "installed";

/// The mark beside the questions that they are left to the worker; it is no question.
const LEFT: &str = ".left";

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inquiry {
    /// Which packages are installed, and in which versions.
    Installed,
    /// Which updates are pending, and which are kept back.
    Pending,
    /// What an apply of this target would do, and which versions it covers now.
    Plan(Target),
}

/// What stands in the file of a [`Inquiry::Plan`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    packages: Target,
}

/// Too many questions wait.
#[derive(Debug)]
pub struct TooMany;

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{MAX_WAITING} questions wait already; ask again later")
    }
}

impl std::error::Error for TooMany {}

impl Inquiry {
    /// The name of its file, and of the file with its answer. Equal questions have equal names.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Installed => INSTALLED.to_owned(),
            Self::Pending => PENDING.to_owned(),
            Self::Plan(target) => {
                let names = target.names().join("\n");
                format!("plan-{}", checksum::sha256(names.as_bytes()))
            }
        }
    }

    /// Asks. Nothing of it has to survive a power cut, so nothing is synced.
    pub fn submit(&self, paths: &Paths) -> Result<()> {
        let name = self.name();
        let asked = paths.inquiries().join(&name);
        if !asked.exists() && waiting(paths) >= MAX_WAITING {
            bail!(TooMany);
        }
        let bytes = match self {
            Self::Installed | Self::Pending => Vec::new(),
            Self::Plan(target) => serde_json::to_vec(&Entry {
                packages: target.clone(),
            })?,
        };
        let prepared = paths.tmp().join(format!("{}.inquiry", JobId::new()?));
        fs::write(&prepared, bytes)
            .and_then(|()| fs::rename(&prepared, &asked))
            .inspect_err(|_| {
                let _ = fs::remove_file(&prepared);
            })
            .with_context(|| format!("failed to write {}", quoted(&asked)))
    }

    /// Whether the planner has not taken it yet.
    #[must_use]
    pub fn waits(&self, paths: &Paths) -> bool {
        paths.inquiries().join(self.name()).exists()
    }

    /// Takes the next question away and returns it: those for everything first, then the oldest. An entry
    /// that is no question is moved to `refused/`.
    pub fn take(paths: &Paths) -> Result<Option<Self>> {
        Self::take_of(paths, |_| true)
    }

    /// The same of the questions that are picked; the others go on waiting.
    pub fn take_of(paths: &Paths, is_picked: impl Fn(&Self) -> bool) -> Result<Option<Self>> {
        for name in names(paths)? {
            match parse(paths, &name) {
                Ok(inquiry) if !is_picked(&inquiry) => {}
                Ok(inquiry) => {
                    let path = paths.inquiries().join(&name);
                    match fs::remove_file(&path) {
                        // the planner and the worker may answer at the same time: the other one has taken it
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                        removed => {
                            removed
                                .with_context(|| format!("failed to remove {}", quoted(&path)))?;
                            return Ok(Some(inquiry));
                        }
                    }
                }
                Err(Unreadable::Gone) => {}
                Err(Unreadable::Refused(why)) => {
                    let what = format!("the question {}", shown(&name));
                    refuse_in(paths, &paths.inquiries(), &name, &what, &why)?;
                }
                Err(Unreadable::Failed(error)) => {
                    return Err(error)
                        .with_context(|| format!("failed to read the question {}", shown(&name)));
                }
            }
        }
        Ok(None)
    }
}

fn parse(paths: &Paths, name: &OsStr) -> Result<Inquiry, Unreadable> {
    let bytes = read_untrusted(&paths.inquiries(), Path::new(name), MAX_ENTRY_BYTES)?;
    match name.to_str() {
        Some(INSTALLED) => return Ok(Inquiry::Installed),
        Some(PENDING) => return Ok(Inquiry::Pending),
        _ => {}
    }
    let entry: Entry = serde_json::from_slice(&bytes)
        .map_err(|error| Unreadable::Refused(format!("it is not a question: {error}")))?;
    let inquiry = Inquiry::Plan(entry.packages);
    if name != inquiry.name().as_str() {
        return Err(Unreadable::Refused(
            "its name belongs to another question".to_owned(),
        ));
    }
    Ok(inquiry)
}

/// Leaves the questions that wait to the worker, which looks at them when it has served the queue.
pub fn leave_to_worker(paths: &Paths) -> Result<()> {
    let mark = paths.inquiries().join(LEFT);
    fs::write(&mark, "").with_context(|| format!("failed to write {}", quoted(&mark)))
}

/// Whether they were left to it since this was last asked.
#[must_use]
pub fn were_left(paths: &Paths) -> bool {
    fs::remove_file(paths.inquiries().join(LEFT)).is_ok()
}

/// How many wait.
#[must_use]
pub fn waiting(paths: &Paths) -> usize {
    let entries = fs::read_dir(paths.inquiries())
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter(|entry| is_visible(&entry.file_name()))
        .count()
}

/// The names of the questions, in the order in which they are answered.
fn names(paths: &Paths) -> Result<Vec<OsString>> {
    let directory = paths.inquiries();
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("failed to read {}", quoted(&directory)))?;
    let rank = |name: &OsStr| match name.to_str() {
        // which takes the least
        Some(INSTALLED) => 0,
        Some(PENDING) => 1,
        _ => 2,
    };
    let mut names: Vec<(u8, SystemTime, OsString)> = entries
        .flatten()
        .filter(|entry| is_visible(&entry.file_name()))
        .map(|entry| {
            let changed = entry.metadata().and_then(|m| m.modified());
            let changed = changed.unwrap_or(SystemTime::UNIX_EPOCH);
            (rank(&entry.file_name()), changed, entry.file_name())
        })
        .collect();
    sorted::sort(&mut names);
    Ok(names.into_iter().map(|(.., name)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::prepare;

    fn host() -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        prepare(&paths).unwrap();
        (root, paths)
    }

    fn plan(names: &[&str]) -> Inquiry {
        Inquiry::Plan(Target::from_names(names).unwrap())
    }

    #[test]
    fn equal_questions_are_one_and_the_one_for_everything_comes_first() {
        let (_root, paths) = host();
        let demo = plan(&["demo", "tool"]);
        let same = plan(&["tool", "demo", "demo"]);
        for inquiry in [&demo, &same, &Inquiry::Pending, &Inquiry::Installed] {
            inquiry.submit(&paths).unwrap();
            assert!(inquiry.waits(&paths));
        }
        assert_eq!(waiting(&paths), 3);
        assert_eq!(Inquiry::take(&paths).unwrap(), Some(Inquiry::Installed));
        assert_eq!(Inquiry::take(&paths).unwrap(), Some(Inquiry::Pending));
        assert_eq!(Inquiry::take(&paths).unwrap(), Some(demo));
        assert_eq!(Inquiry::take(&paths).unwrap(), None);
        assert_eq!(fs::read_dir(paths.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn no_more_wait_than_can_be_answered() {
        let (_root, paths) = host();
        for number in 0..MAX_WAITING {
            plan(&[&format!("p{number}")]).submit(&paths).unwrap();
        }
        let error = plan(&["demo"]).submit(&paths).unwrap_err();
        assert!(error.is::<TooMany>(), "{error:#}");
        // one that waits already is no more
        plan(&["p0"]).submit(&paths).unwrap();
    }

    #[test]
    fn what_is_no_question_is_moved_away() {
        let (_root, paths) = host();
        let entry = |name: &str| paths.inquiries().join(name);
        fs::write(entry("plan-x"), r#"{"packages":["demo"]}"#).unwrap();
        fs::write(entry(&plan(&["a"]).name()), r#"{"packages":["a-"]}"#).unwrap();
        fs::write(entry(&plan(&["b"]).name()), r#"{"packages":["b"],"x":1}"#).unwrap();
        fs::create_dir(entry(&plan(&["c"]).name())).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", entry("pending")).unwrap();
        fs::write(entry(".hidden"), "").unwrap();
        assert_eq!(Inquiry::take(&paths).unwrap(), None);
        assert_eq!(fs::read_dir(paths.refused()).unwrap().count(), 5);
        assert_eq!(waiting(&paths), 0);
    }
}
