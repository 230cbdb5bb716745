//! The files of a repository: its pool and the signed index over it, as a server hands them out.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::index::{self, Entry, ReleaseOptions};
use crate::server::flip_bit;
use crate::signing::Key;
use crate::{cache, machine};

/// A repository's whole index at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot(Vec<(PathBuf, Vec<u8>)>);

/// What is forged, while sizes stay as they were.
#[derive(Clone, Copy, Debug)]
pub enum Tamper<'a> {
    /// The signed Release file.
    InRelease,
    /// The list of packages.
    Packages,
    /// A package file: its name, its version.
    Deb(&'a str, &'a str),
}

/// One repository's directory.
pub(crate) struct Archive {
    directory: PathBuf,
    suite: String,
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
        directory: PathBuf,
        options: ReleaseOptions,
        signer: Option<Key>,
    ) -> Result<Self> {
        let pool = directory.join("pool");
        fs::create_dir_all(&pool)
            .with_context(|| format!("failed to create '{}'", pool.display()))?;
        let suite = options.suite.clone();
        let state = State {
            options,
            signer,
            last_change: SystemTime::UNIX_EPOCH,
        };
        let archive = Self {
            directory,
            suite,
            state: Mutex::new(state),
        };
        archive.reindex()?;
        Ok(archive)
    }

    pub(crate) fn signer(&self) -> Option<Key> {
        self.state().signer
    }

    /// The suite it had at its making, which is part of its addresses.
    pub(crate) fn suite(&self) -> &str {
        &self.suite
    }

    /// Who signs from the next index on.
    pub(crate) fn set_signer(&self, signer: Option<Key>) {
        self.state().signer = signer;
    }

    /// Changes what the next index says.
    pub(crate) fn set_options(&self, change: impl FnOnce(&mut ReleaseOptions)) {
        change(&mut self.state().options);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let files = self.index_files().into_iter();
        Snapshot(
            files
                .filter_map(|file| fs::read(&file).ok().map(|bytes| (file, bytes)))
                .collect(),
        )
    }

    pub(crate) fn restore(&self, snapshot: &Snapshot) -> Result<()> {
        for file in self.index_files() {
            cache::remove(&file)?;
        }
        snapshot
            .0
            .iter()
            .try_for_each(|(file, bytes)| self.publish(file, bytes))
    }

    /// Changes one bit of a published file and signs nothing.
    pub(crate) fn tamper(&self, what: Tamper<'_>) -> Result<()> {
        let file = match what {
            Tamper::InRelease => self.dists().join("InRelease"),
            Tamper::Packages => self.dists().join(packages_path()),
            Tamper::Deb(name, version) => self.pool_file(name, version)?,
        };
        let mut bytes =
            fs::read(&file).with_context(|| format!("failed to read '{}'", file.display()))?;
        flip_bit(&mut bytes);
        self.publish(&file, &bytes)
    }

    /// Puts a package file into the pool.
    pub(crate) fn put(&self, file: &Path) -> Result<()> {
        let fields = ["Package", "Version", "Architecture"].map(|field| control(file, &[field]));
        let [name, version, architecture] = fields;
        let version = version?.trim().replace(':', "%3a");
        let name = format!("{}_{version}_{}.deb", name?.trim(), architecture?.trim());
        let bytes =
            fs::read(file).with_context(|| format!("failed to read '{}'", file.display()))?;
        self.publish(&self.directory.join("pool").join(name), &bytes)
    }

    /// Writes the index anew from what is in the pool, and signs it.
    pub(crate) fn reindex(&self) -> Result<()> {
        let signer = self.signer();
        let options = self.state().options.clone();
        let packages = index::packages(&self.entries()?, &options);
        let path = packages_path();
        let release = index::release(&options, &[(&path, &packages)]);
        for file in self.index_files() {
            cache::remove(&file)?;
        }
        self.publish(&self.dists().join(path), packages.as_bytes())?;
        match signer {
            Some(key) => self.publish(
                &self.dists().join("InRelease"),
                key.sign(&release)?.as_bytes(),
            ),
            None => self.publish(&self.dists().join("Release"), release.as_bytes()),
        }
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.directory.join("pool"))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        files.iter().map(|file| entry(file)).collect()
    }

    pub(crate) fn pool_file(&self, name: &str, version: &str) -> Result<PathBuf> {
        let start = format!("{name}_{}_", version.replace(':', "%3a"));
        let files = fs::read_dir(self.directory.join("pool"))?.flatten();
        files
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|file| file.to_string_lossy().starts_with(&start))
            })
            .with_context(|| format!("{name} {version} is not in the pool"))
    }

    /// Every change has a later time than the one before, as `Last-Modified` counts in whole seconds.
    fn publish(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        state.last_change = SystemTime::now().max(state.last_change + Duration::from_secs(1));
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("failed to create '{}'", parent.display()))?;
        }
        fs::write(file, bytes).with_context(|| format!("failed to write '{}'", file.display()))?;
        Ok(fs::File::options()
            .append(true)
            .open(file)?
            .set_modified(state.last_change)?)
    }

    fn index_files(&self) -> [PathBuf; 3] {
        ["InRelease", "Release", &packages_path()].map(|name| self.dists().join(name))
    }

    fn dists(&self) -> PathBuf {
        self.directory.join("dists").join(&self.suite)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(file: &Path) -> Result<Entry> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(Entry {
        control: control(file, &[])?,
        filename: format!("pool/{name}"),
        bytes: fs::read(file).with_context(|| format!("failed to read '{}'", file.display()))?,
    })
}

fn control(deb: &Path, fields: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new("dpkg-deb");
    machine::run_command(command.arg("--field").arg(deb).args(fields))
}

fn packages_path() -> String {
    format!("main/binary-{}/Packages", machine::architecture())
}
