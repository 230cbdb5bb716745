//! The files of a repository: its pool and the index over it, as a server hands them out, whatever reads them.

mod apk;
mod apt;
mod index;
mod pacman;
mod rpm;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::cache;
use crate::host::Host;
use crate::manager::Format;
use crate::server::flip_bit;
use crate::signing::Key;

pub use index::{Advisory, Asks, ReleaseOptions};

/// A repository's whole index at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot(Vec<(PathBuf, Vec<u8>)>);

/// What is forged, while sizes stay as they were.
#[derive(Clone, Copy, Debug)]
pub enum Tamper<'a> {
    /// The signed file on top of the index: `InRelease`, `repomd.xml`, `lab.db`.
    InRelease,
    /// The list of packages: `Packages`, `primary.xml`.
    Packages,
    /// A package file: its name, its version.
    Deb(&'a str, &'a str),
}

/// What makes the repositories of one format differ from those of another.
trait Index: Send + Sync {
    /// The name of a package file in the pool.
    fn pool_name(&self, file: &Path) -> Result<String>;
    /// What the names of this version's files begin with.
    fn pool_prefix(&self, name: &str, version: &str) -> String;
    /// Signs a package file that has just been put into the pool, where packages are signed.
    fn sign_package(&self, file: &Path, signer: Key) -> Result<()>;
    /// Rewrites the index from what is in the pool, and signs it.
    fn write(&self, files: &Files) -> Result<()>;
    /// Every file of the index.
    fn files(&self, files: &Files) -> Vec<PathBuf>;
    /// The signed file on top of the index, and the list of packages.
    fn tops(&self, files: &Files) -> Result<[PathBuf; 2]>;
    /// Makes `host` trust the key and read the repository at `url`, which it knows by `name`.
    fn enable(&self, files: &Files, host: &Host, name: &str, url: &str) -> Result<()>;
    /// The file that names the repository in the host's sources.
    fn definition(&self, host: &Host, name: &str) -> String;
}

/// One repository's directory.
pub(crate) struct Archive {
    index: Box<dyn Index>,
    files: Files,
}

/// What every kind of index works on.
struct Files {
    directory: PathBuf,
    state: Mutex<State>,
}

struct State {
    options: ReleaseOptions,
    signer: Option<Key>,
    last_change: SystemTime,
}

impl Archive {
    /// An empty one.
    pub(crate) fn create(
        format: Format,
        directory: PathBuf,
        options: ReleaseOptions,
        signer: Option<Key>,
    ) -> Result<Self> {
        let pool = directory.join("pool");
        fs::create_dir_all(&pool)
            .with_context(|| format!("failed to create '{}'", pool.display()))?;
        let index: Box<dyn Index> = match format {
            Format::Deb => Box::new(apt::Apt::new(&options)),
            Format::Rpm => Box::new(rpm::Rpm),
            Format::Pacman => Box::new(pacman::Pacman),
            Format::Apk => Box::new(apk::Apk),
        };
        let state = State {
            options,
            signer,
            last_change: SystemTime::UNIX_EPOCH,
        };
        let files = Files {
            directory,
            state: Mutex::new(state),
        };
        let archive = Self { index, files };
        archive.reindex()?;
        Ok(archive)
    }

    /// Who signs from the next index on.
    pub(crate) fn set_signer(&self, signer: Option<Key>) {
        self.files.state().signer = signer;
    }

    /// Changes what the next index says.
    pub(crate) fn set_options(&self, change: impl FnOnce(&mut ReleaseOptions)) {
        change(&mut self.files.state().options);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let files = self.index.files(&self.files).into_iter();
        Snapshot(
            files
                .filter_map(|file| fs::read(&file).ok().map(|bytes| (file, bytes)))
                .collect(),
        )
    }

    pub(crate) fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        for file in self.index.files(&self.files) {
            cache::remove(&file)?;
        }
        snapshot
            .0
            .iter()
            .try_for_each(|(file, bytes)| self.files.publish(file, bytes))
    }

    /// Changes one bit of a published file and signs nothing.
    pub(crate) fn tamper(&self, what: Tamper<'_>) -> Result<()> {
        let file = match what {
            Tamper::InRelease => self.index.tops(&self.files)?[0].clone(),
            Tamper::Packages => self.index.tops(&self.files)?[1].clone(),
            Tamper::Deb(name, version) => self.pool_file(name, version)?,
        };
        let mut bytes =
            fs::read(&file).with_context(|| format!("failed to read '{}'", file.display()))?;
        flip_bit(&mut bytes);
        self.files.publish(&file, &bytes)
    }

    /// Puts a package file into the pool.
    pub(crate) fn put(&self, file: &Path) -> Result<()> {
        let in_pool = self.files.pool().join(self.index.pool_name(file)?);
        let bytes =
            fs::read(file).with_context(|| format!("failed to read '{}'", file.display()))?;
        self.files.publish(&in_pool, &bytes)?;
        match self.files.signer() {
            Some(signer) => self.index.sign_package(&in_pool, signer),
            None => Ok(()),
        }
    }

    /// Rewrites the index from what is in the pool, and signs it.
    pub(crate) fn reindex(&self) -> Result<()> {
        self.index.write(&self.files)
    }

    pub(crate) fn pool_file(&self, name: &str, version: &str) -> Result<PathBuf> {
        let start = self.index.pool_prefix(name, version);
        let mut files = self.files.packages()?.into_iter();
        files
            .find(|path| {
                path.file_name()
                    .is_some_and(|file| file.to_string_lossy().starts_with(&start))
            })
            .with_context(|| format!("{name} {version} is not in the pool"))
    }

    pub(crate) fn enable(&self, host: &Host, name: &str, url: &str) -> Result<()> {
        self.index.enable(&self.files, host, name, url)
    }

    pub(crate) fn definition(&self, host: &Host, name: &str) -> String {
        self.index.definition(host, name)
    }
}

impl Files {
    fn pool(&self) -> PathBuf {
        self.directory.join("pool")
    }

    /// The files of the pool, in a fixed order.
    fn packages(&self) -> Result<Vec<PathBuf>> {
        all_in(&self.pool())
    }

    fn signer(&self) -> Option<Key> {
        self.state().signer
    }

    fn options(&self) -> ReleaseOptions {
        self.state().options.clone()
    }

    /// Every change has a later time than the one before, as `Last-Modified` counts in whole seconds.
    fn publish(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        state.last_change = SystemTime::now().max(state.last_change + Duration::from_secs(1));
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("failed to create '{}'", parent.display()))?;
        }
        // a client that asks meanwhile gets the former one or this one, and never a part
        let next = file.with_file_name(".next");
        fs::write(&next, bytes).with_context(|| format!("failed to write '{}'", next.display()))?;
        let written = fs::File::options().append(true).open(&next)?;
        written.set_modified(state.last_change)?;
        fs::rename(&next, file).with_context(|| format!("failed to publish '{}'", file.display()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies in a directory, sorted.
fn all_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("failed to read '{}'", directory.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}
