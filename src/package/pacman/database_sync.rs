//! The repositories' databases: fetched into a private tree, read to their end, and only then moved to the live one.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};

use super::arguments;
use super::conf::PacmanRepository;
use super::database::{self, DATABASE};
use crate::checksum;
use crate::exec::Line;
use crate::fs::write_atomically;
use crate::sorted;

/// The private tree: `local` is a link to the live database of installed packages, `sync` is its own.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    live: PathBuf,
}

/// What a database file was at some moment; another one has another text.
pub type DatabaseStamp = (PathBuf, String);

impl Tree {
    /// The tree at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            live: PathBuf::from(DATABASE).join("sync"),
        }
    }

    /// Where it is, for `--dbpath`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database file of a repository.
    pub fn database(&self, repository: &str) -> PathBuf {
        self.path.join("sync").join(format!("{repository}.db"))
    }

    /// Makes it ready for a refresh, and remembers the databases it has.
    pub fn prepare(&self) -> Result<()> {
        let prepare = || -> io::Result<()> {
            fs::create_dir_all(self.path.join("sync"))?;
            let link = self.path.join("local");
            let target = PathBuf::from(DATABASE).join("local");
            if fs::read_link(&link).ok().as_ref() != Some(&target) {
                remove(&link)?;
                std::os::unix::fs::symlink(&target, &link)?;
            }
            // only the worker uses this tree, and there is only one: the process that locked it is dead
            remove(&self.path.join("db.lck"))?;
            let before = self.path.join("before");
            remove(&before)?;
            fs::create_dir(&before)?;
            for entry in fs::read_dir(self.path.join("sync"))? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::hard_link(entry.path(), before.join(entry.file_name()))?;
                }
            }
            Ok(())
        };
        prepare().with_context(|| format!("failed to prepare '{}'", self.path.display()))
    }

    /// Reads every database to its end, unless that was done. One that cannot be read, such as the page of a captive portal,
    /// which pacman stores with exit code 0 (FACTS 48), gives way to the one before it: it would stay for
    /// ever, since its date is newer than that of the true one. What is wrong, with the repository.
    pub fn check(
        &self,
        repositories: &[PacmanRepository],
        listed: bool,
    ) -> Result<Vec<(String, String)>> {
        let names = || repositories.iter().map(|repository| &repository.name);
        let mut wrong: Vec<(String, String)> = Vec::new();
        let mut stray = None;
        if !listed {
            // it exits with 0 all the same (FACTS 49)
            let _ended = arguments::list(&self.path).run(&mut |line: Line<'_>| {
                let Line::Error(text) = line else { return };
                let Some(error) = text.strip_prefix("error: ") else {
                    return;
                };
                match names().find(|repository| is_about(error, repository)) {
                    Some(known) if wrong.iter().any(|(other, _)| other == known) => {}
                    Some(repository) => wrong.push((repository.clone(), error.to_owned())),
                    None => stray = Some(error.to_owned()),
                }
            })?;
        }
        if let Some(error) = stray {
            bail!("pacman cannot read its databases: {error}");
        }
        for (repository, _) in &wrong {
            self.take_back(repository)?;
        }
        for repository in names() {
            if !self.database(repository).exists() && wrong.iter().all(|(r, _)| r != repository) {
                let why = "its database is missing after the refresh";
                wrong.push((repository.clone(), why.to_owned()));
            }
        }
        Ok(wrong)
    }

    /// The date a database has: that of the file on the server, which pacman keeps.
    pub fn date(&self, repository: &str) -> Option<DateTime<Utc>> {
        let modified = fs::metadata(self.database(repository))
            .ok()?
            .modified()
            .ok()?;
        Some(modified.into())
    }

    fn take_back(&self, repository: &str) -> Result<()> {
        for name in [format!("{repository}.db"), format!("{repository}.db.sig")] {
            let (bad, good) = (
                self.path.join("sync").join(&name),
                self.path.join("before").join(&name),
            );
            let take_back = || match fs::rename(&good, &bad) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => remove(&bad),
                other => other,
            };
            take_back().with_context(|| format!("failed to remove '{}'", bad.display()))?;
        }
        Ok(())
    }

    /// Whether pacman itself has a database of this repository.
    pub fn is_live(&self, repository: &str) -> bool {
        self.live.join(format!("{repository}.db")).exists()
    }

    /// Puts the databases of these repositories live, and keeps those that were live. What is live then.
    pub fn put_live(&self, repositories: &[&str]) -> Result<Vec<DatabaseStamp>> {
        // those of a run that was interrupted are still the ones to go back to
        self.restore_unless_used()?;
        let former = self.path.join("former");
        remove(&former)
            .and_then(|()| fs::create_dir(&former))
            .and_then(|()| fs::create_dir_all(&self.live))
            .context("failed to keep the live databases")?;
        let mut mark = installed_mark()?;
        let mut stamps = Vec::new();
        for repository in repositories {
            for name in [format!("{repository}.db"), format!("{repository}.db.sig")] {
                let (ours, live) = (self.path.join("sync").join(&name), self.live.join(&name));
                if !same(&ours, &live) {
                    copy(&live, &former.join(&name))?;
                    if !live.exists() {
                        mark = format!("{mark}\n{name}");
                    }
                    // written last, it says that the directory is whole
                    write_atomically(&former.join(MARK), mark.as_bytes(), 0o644)?;
                    copy(&ours, &live)?;
                }
                stamps.push((live.clone(), stamp(&live)));
            }
        }
        Ok(stamps)
    }

    /// Puts the databases back that were live before [`put_live`](Self::put_live), unless packages have
    /// changed since: a database that is ahead of what is installed makes every later installation a
    /// partial upgrade. Whether the live databases are no longer ahead.
    pub fn restore_unless_used(&self) -> Result<bool> {
        let former = self.path.join("former");
        let Ok(mark) = fs::read_to_string(former.join(MARK)) else {
            return Ok(true);
        };
        if mark.lines().next() != Some(&installed_mark()?) {
            return Ok(false);
        }
        self.restore()?;
        Ok(true)
    }

    /// Puts those databases back in any case.
    pub fn restore(&self) -> Result<()> {
        let former = self.path.join("former");
        if let Ok(mark) = fs::read_to_string(former.join(MARK)) {
            for entry in fs::read_dir(&former)? {
                let name = entry?.file_name();
                if name != OsStr::new(MARK) {
                    copy(&former.join(&name), &self.live.join(&name))?;
                }
            }
            for name in mark.lines().skip(1) {
                remove(&self.live.join(name)).context("failed to take a live database away")?;
            }
        }
        self.forget()
    }

    /// The live databases belong to what is installed.
    pub fn forget(&self) -> Result<()> {
        remove(&self.path.join("former")).context("failed to forget the former databases")
    }

    /// Records that a run of this program is going to lock the live database: if it dies, the lock is its own.
    pub fn begin(&self) -> Result<()> {
        write_atomically(&self.path.join(RUNNING), b"", 0o644)
    }

    /// Whether a run of this program has begun and not ended.
    pub fn has_begun(&self) -> bool {
        self.path.join(RUNNING).exists()
    }

    /// It has ended, and the lock is gone.
    pub fn end(&self) -> Result<()> {
        remove(&self.path.join(RUNNING)).context("failed to forget a run that has ended")
    }

    /// A text that changes with the databases.
    pub fn fingerprint(&self) -> String {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path.join("sync"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        sorted::sort(&mut files);
        files.iter().map(|file| stamp(file) + ";").collect()
    }
}

/// The file that holds, beside the former databases, what was installed when they were live; in lines of
/// their own the names of those that were not there.
const MARK: &str = "installed";

/// The file that exists while a run of this program may hold the lock.
const RUNNING: &str = "running";

/// Whether a line of pacman's standard error is about this repository's database.
fn is_about(error: &str, repository: &str) -> bool {
    error.contains(&format!("'{repository}'")) || error.contains(&format!("/{repository}.db"))
}

/// What a file is; a missing one is "-".
pub fn stamp(file: &Path) -> String {
    fs::metadata(file).map_or_else(
        |_| "-".to_owned(),
        |m| format!("{}:{}:{}:{}", m.ino(), m.size(), m.mtime(), m.mtime_nsec()),
    )
}

/// What is installed, as far as the names of the database's directories tell.
fn installed_mark() -> Result<String> {
    let directories = database::directories(&PathBuf::from(DATABASE).join("local"))?;
    let names: Vec<String> = directories
        .iter()
        .map(|d| d.display().to_string())
        .collect();
    Ok(checksum::sha256(names.join("\n").as_bytes()))
}

fn same(one: &Path, other: &Path) -> bool {
    let of = |path: &Path| fs::metadata(path).map(|m| (m.size(), m.mtime())).ok();
    of(one) == of(other)
}

/// Copies a file durably, with its date, by which pacman asks the server for a newer one; a missing one is
/// missing in the copy, too.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> Result<()> {
        let Ok(bytes) = fs::read(from) else {
            return Ok(remove(to)?);
        };
        let modified = fs::metadata(from)?.modified()?;
        write_atomically(to, &bytes, 0o644)?;
        File::open(to)?.set_times(FileTimes::new().set_modified(modified))?;
        Ok(())
    };
    copy().with_context(|| format!("failed to copy '{}' to '{}'", from.display(), to.display()))
}

/// Removes a file or a directory, if there is one.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_cannot_be_read_is_named() {
        // pacman 7.0, for two pages of captive portals
        for line in [
            "could not read db 'lab' (Missing type keyword in mtree specification)",
            "could not open file /t/sync/lab.db: Unrecognized archive format",
        ] {
            assert!(is_about(line, "lab") && !is_about(line, "la"), "{line}");
        }
    }

    #[test]
    fn the_live_databases_go_back_to_what_they_were() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree {
            path: root.path().join("tree"),
            live: root.path().join("live"),
        };
        let former = tree.path.join("former");
        fs::create_dir_all(&former).unwrap();
        fs::create_dir(&tree.live).unwrap();
        for (directory, name, text) in [
            (&former, "core.db", "1"),
            (&former, MARK, "sum\nextra.db"),
            (&tree.live, "core.db", "2"),
            (&tree.live, "extra.db", "2"),
            (&tree.live, "theirs.db", "3"),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        tree.restore().unwrap();
        assert_eq!(fs::read_to_string(tree.live.join("core.db")).unwrap(), "1");
        assert!(!tree.is_live("extra"), "it was not there");
        assert!(tree.is_live("theirs") && !former.exists());
    }

    #[test]
    fn a_copy_keeps_the_date_and_what_is_missing_goes() {
        let root = tempfile::tempdir().unwrap();
        let (one, other) = (root.path().join("one"), root.path().join("other"));
        fs::write(&one, "x").unwrap();
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::open(&one)
            .unwrap()
            .set_times(FileTimes::new().set_modified(date))
            .unwrap();
        copy(&one, &other).unwrap();
        assert!(same(&one, &other));
        fs::remove_file(&one).unwrap();
        copy(&one, &other).unwrap();
        assert!(!other.exists());
    }
}
