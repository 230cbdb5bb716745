//! An apt repository for one host: a pool of packages, a signed index over it, and a server that can misbehave.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::deb::Deb;
use crate::host::Host;
use crate::index::{self, Entry, ReleaseOptions};
use crate::server::{Fault, Server, flip_bit};
use crate::signing::Key;
use crate::{cache, machine};

/// The first repository of a host listens here, the next ones behind it.
const FIRST_PORT: u16 = 8080;

/// What a repository is to be like.
#[derive(Clone, Debug)]
#[must_use]
pub struct RepoBuilder {
    name: String,
    hostname: Option<String>,
    signer: Option<Key>,
    options: ReleaseOptions,
}

impl RepoBuilder {
    /// Addressed by this host name, which the host learns from its `/etc/hosts`.
    pub fn hostname(mut self, hostname: &str) -> Self {
        self.hostname = Some(hostname.to_owned());
        self
    }

    /// Says of itself what Debian's security archive says.
    pub fn security(mut self) -> Self {
        self.options = ReleaseOptions::security();
        self
    }

    /// Without any signature.
    pub fn unsigned(mut self) -> Self {
        self.signer = None;
        self
    }

    /// Makes the repository, empty, and serves it inside `host`'s network.
    #[track_caller]
    pub fn build(self, host: &Host) -> Repo {
        let name = self.name.clone();
        self.try_build(host)
            .unwrap_or_else(|error| panic!("failed to make the repository {name}: {error:#}"))
    }

    fn try_build(self, host: &Host) -> Result<Repo> {
        let directory = host.side_directory(&format!("repo-{}", self.name));
        let pool = directory.join("pool");
        fs::create_dir_all(&pool)
            .with_context(|| format!("failed to create '{}'", pool.display()))?;
        let server = serve(host, &directory)?;
        let state = State {
            options: self.options,
            signer: self.signer,
            last_change: SystemTime::UNIX_EPOCH,
        };
        let repo = Repo {
            name: self.name,
            hostname: self.hostname,
            directory,
            server,
            state: Mutex::new(state),
        };
        repo.try_reindex()?;
        Ok(repo)
    }
}

/// A package archive under a test's control.
pub struct Repo {
    name: String,
    hostname: Option<String>,
    directory: PathBuf,
    server: Server,
    state: Mutex<State>,
}

struct State {
    options: ReleaseOptions,
    signer: Option<Key>,
    last_change: SystemTime,
}

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

impl Repo {
    /// A signed repository named `lab`.
    #[track_caller]
    pub fn new(host: &Host) -> Self {
        Self::builder("lab").build(host)
    }

    /// A repository with options; each of a host has another name.
    pub fn builder(name: &str) -> RepoBuilder {
        RepoBuilder {
            name: name.to_owned(),
            hostname: None,
            signer: Some(Key::Trusted),
            options: ReleaseOptions::default(),
        }
    }

    /// Its address, as the host writes it.
    pub fn url(&self) -> String {
        let host = self.hostname.as_deref().unwrap_or("127.0.0.1");
        format!("http://{host}:{}/", self.server.port())
    }

    /// Names it in the host's apt sources, and gives the host its key.
    #[track_caller]
    pub fn enable(&self, host: &Host) {
        let keyring = format!("/etc/apt/keyrings/{}.asc", self.name);
        host.write(&keyring, must(Key::Trusted.public()));
        let trust = if self.state().signer.is_some() {
            format!("Signed-By: {keyring}")
        } else {
            "Trusted: yes".to_owned()
        };
        let url = self.url();
        host.write(
            &self.sources(),
            format!("Types: deb\nURIs: {url}\nSuites: stable\nComponents: main\n{trust}\n"),
        );
        if let Some(hostname) = &self.hostname
            && !host.read("/etc/hosts").contains(hostname.as_str())
        {
            host.append("/etc/hosts", format!("127.0.0.1 {hostname}\n"));
        }
    }

    /// Takes it out of the host's apt sources.
    #[track_caller]
    pub fn disable(&self, host: &Host) {
        host.sh(&format!("rm {}", self.sources()));
    }

    /// Publishes a package: file and index.
    #[track_caller]
    pub fn add(&self, deb: &Deb) {
        self.add_file(&deb.build());
    }

    /// Publishes a package file that was built elsewhere.
    #[track_caller]
    pub fn add_file(&self, file: &Path) {
        must(self.put(file));
        self.reindex();
    }

    /// The file is there, but no index names it before the next [`reindex`](Self::reindex).
    #[track_caller]
    pub fn add_to_pool_only(&self, deb: &Deb) {
        must(self.put(&deb.build()));
    }

    /// The file goes, and the index still names it until the next [`reindex`](Self::reindex): a mirror that moved on.
    #[track_caller]
    pub fn remove_from_pool(&self, name: &str, version: &str) {
        let file = must(self.pool_file(name, version));
        must(cache::remove(&file));
    }

    /// Withdraws a package: file and index.
    #[track_caller]
    pub fn remove(&self, name: &str, version: &str) {
        self.remove_from_pool(name, version);
        self.reindex();
    }

    /// Writes the index anew from what is in the pool, and signs it.
    #[track_caller]
    pub fn reindex(&self) {
        must(self.try_reindex());
    }

    /// Changes what the Release file says, and writes the index anew.
    #[track_caller]
    pub fn set(&self, change: impl FnOnce(&mut ReleaseOptions)) {
        change(&mut self.state().options);
        self.reindex();
    }

    /// Hands a package out to this percentage of the hosts only.
    #[track_caller]
    pub fn phase(&self, name: &str, percentage: u8) {
        self.set(|options| {
            options.phased.insert(name.to_owned(), percentage);
        });
    }

    /// From now on signed by a key that no host knows.
    #[track_caller]
    pub fn sign_by_stranger(&self) {
        self.state().signer = Some(Key::Stranger);
        self.reindex();
    }

    /// From now on signed by nobody; the host's sources are left as they are.
    #[track_caller]
    pub fn sign_by_nobody(&self) {
        self.state().signer = None;
        self.reindex();
    }

    /// Keeps the index of this moment, to be served again later.
    #[track_caller]
    pub fn snapshot(&self) -> Snapshot {
        let files = self.index_files().into_iter();
        Snapshot(
            files
                .filter_map(|file| fs::read(&file).ok().map(|bytes| (file, bytes)))
                .collect(),
        )
    }

    /// Serves a former index again: a replay attack, or a mirror that went back.
    #[track_caller]
    pub fn restore(&self, snapshot: &Snapshot) {
        must(
            self.index_files()
                .iter()
                .try_for_each(|file| cache::remove(file)),
        );
        for (file, bytes) in &snapshot.0 {
            must(self.publish(file, bytes));
        }
    }

    /// Changes one bit of a published file and signs nothing.
    #[track_caller]
    pub fn tamper(&self, what: Tamper<'_>) {
        let file = match what {
            Tamper::InRelease => self.dists().join("InRelease"),
            Tamper::Packages => self.dists().join(packages_path()),
            Tamper::Deb(name, version) => must(self.pool_file(name, version)),
        };
        let mut bytes =
            must(fs::read(&file).with_context(|| format!("failed to read '{}'", file.display())));
        flip_bit(&mut bytes);
        must(self.publish(&file, &bytes));
    }

    /// Requests whose path contains `part` (an empty one is in every path) meet this fault from now on.
    pub fn fault(&self, part: &str, fault: Fault) {
        self.server.set_fault(part, fault);
    }

    /// No more faults.
    pub fn heal(&self) {
        self.server.clear_faults();
    }

    /// Connections are refused: the network is down.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// The network is back.
    #[track_caller]
    pub fn start(&self) {
        must(self.server.start());
    }

    /// Every path that was asked for, in order.
    pub fn requests(&self) -> Vec<String> {
        self.server.requests()
    }

    /// As [`requests`](Self::requests), which then start anew.
    pub fn take_requests(&self) -> Vec<String> {
        self.server.take_requests()
    }

    fn put(&self, file: &Path) -> Result<()> {
        let fields = ["Package", "Version", "Architecture"].map(|field| control(file, &[field]));
        let [name, version, architecture] = fields;
        let version = version?.trim().replace(':', "%3a");
        let name = format!("{}_{version}_{}.deb", name?.trim(), architecture?.trim());
        let bytes =
            fs::read(file).with_context(|| format!("failed to read '{}'", file.display()))?;
        self.publish(&self.directory.join("pool").join(name), &bytes)
    }

    fn try_reindex(&self) -> Result<()> {
        let signer = self.state().signer;
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

    fn pool_file(&self, name: &str, version: &str) -> Result<PathBuf> {
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
        self.directory.join("dists/stable")
    }

    fn sources(&self) -> String {
        format!("/etc/apt/sources.list.d/{}.sources", self.name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A host's own network has all ports free but those of its other repositories; the machine's does not.
fn serve(host: &Host, directory: &Path) -> Result<Server> {
    let namespace = host.network_namespace();
    if namespace.is_none() {
        return Server::start_in(None, 0, directory.to_owned());
    }
    let mut last = None;
    for port in FIRST_PORT..FIRST_PORT + 16 {
        match Server::start_in(namespace.clone(), port, directory.to_owned()) {
            Ok(server) => return Ok(server),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no port is free")?)
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

#[track_caller]
fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}
