//! A repository for one host, in the form its package manager reads: a pool of packages, a signed index over it, and a server that can misbehave.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::{Advisory, Archive, ReleaseOptions, Snapshot, Tamper};
use crate::cache;
use crate::deb::Deb;
use crate::host::Host;
use crate::manager::Manager;
use crate::server::{Fault, Server};
use crate::signing::Key;

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

    /// Says of itself what Debian's security archive says, or of each package that it closes a security hole.
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
        let manager = host.manager();
        let archive = Archive::create(
            manager.format(),
            directory.clone(),
            self.options,
            self.signer,
        )?;
        let server = serve(host, directory)?;
        Ok(Repo {
            name: self.name,
            manager,
            hostname: self.hostname,
            archive,
            server,
        })
    }
}

/// A package archive under a test's control.
pub struct Repo {
    name: String,
    manager: Manager,
    hostname: Option<String>,
    archive: Archive,
    server: Server,
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

    /// Names it in the host's sources, and gives the host its key.
    #[track_caller]
    pub fn enable(&self, host: &Host) {
        must(self.archive.enable(host, &self.name, &self.url()));
        if let Some(hostname) = &self.hostname
            && !host.read("/etc/hosts").contains(hostname.as_str())
        {
            host.append("/etc/hosts", format!("127.0.0.1 {hostname}\n"));
        }
    }

    /// Takes it out of the host's sources.
    #[track_caller]
    pub fn disable(&self, host: &Host) {
        let definition = self.archive.definition(host, &self.name);
        host.sh(&format!("rm {definition}"));
    }

    /// Publishes a package: file and index.
    #[track_caller]
    pub fn add(&self, deb: &Deb) {
        self.add_file(&self.manager.build(deb));
    }

    /// Publishes a package file that was built elsewhere.
    #[track_caller]
    pub fn add_file(&self, file: &Path) {
        must(self.archive.put(file));
        self.reindex();
    }

    /// Publishes many package files at once.
    #[track_caller]
    pub fn add_files<'a>(&self, files: impl IntoIterator<Item = &'a PathBuf>) {
        for file in files {
            must(self.archive.put(file));
        }
        self.reindex();
    }

    /// The file is there, but no index names it before the next [`reindex`](Self::reindex).
    #[track_caller]
    pub fn add_to_pool_only(&self, deb: &Deb) {
        must(self.archive.put(&self.manager.build(deb)));
    }

    /// The file goes, and the index still names it until the next [`reindex`](Self::reindex): a mirror that moved on.
    #[track_caller]
    pub fn remove_from_pool(&self, name: &str, version: &str) {
        let file = must(self.archive.pool_file(name, version));
        must(cache::remove(&file));
    }

    /// Withdraws a package: file and index.
    #[track_caller]
    pub fn remove(&self, name: &str, version: &str) {
        self.remove_from_pool(name, version);
        self.reindex();
    }

    /// Rewrites the index from what is in the pool, and signs it.
    #[track_caller]
    pub fn reindex(&self) {
        must(self.archive.reindex());
    }

    /// Changes what the index says of itself, and rewrites the index.
    #[track_caller]
    pub fn set(&self, change: impl FnOnce(&mut ReleaseOptions)) {
        self.archive.set_options(change);
        self.reindex();
    }

    /// Hands a package out to this percentage of the hosts only.
    #[track_caller]
    pub fn phase(&self, name: &str, percentage: u8) {
        self.set(|options| {
            options.phased.insert(name.to_owned(), percentage);
        });
    }

    /// Says in an advisory of an rpm repository why there is an update of this package.
    #[track_caller]
    pub fn advise(&self, name: &str, advisory: Advisory) {
        self.set(|options| {
            options.advisories.insert(name.to_owned(), advisory);
        });
    }

    /// From now on signed by a key that no host knows.
    #[track_caller]
    pub fn sign_by_stranger(&self) {
        self.archive.set_signer(Some(Key::Stranger));
        self.reindex();
    }

    /// From now on unsigned; the host's sources are left as they are.
    #[track_caller]
    pub fn sign_by_nobody(&self) {
        self.archive.set_signer(None);
        self.reindex();
    }

    /// From now on signed as at first; packages that are in the pool stay as they are.
    #[track_caller]
    pub fn sign_again(&self) {
        self.archive.set_signer(Some(Key::Trusted));
        self.reindex();
    }

    /// Keeps the index of this moment, to be served again later.
    pub fn snapshot(&self) -> Snapshot {
        self.archive.snapshot()
    }

    /// Serves a former index again: a replay attack, or a mirror that went back.
    #[track_caller]
    pub fn restore(&self, snapshot: &Snapshot) {
        must(self.archive.restore(snapshot));
    }

    /// Changes one bit of a published file and signs nothing.
    #[track_caller]
    pub fn tamper(&self, what: Tamper<'_>) {
        must(self.archive.tamper(what));
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

    /// As [`requests`](Self::requests), and clears the list.
    pub fn take_requests(&self) -> Vec<String> {
        self.server.take_requests()
    }
}

/// A host's own network has all ports free but those of its other repositories; the machine's does not.
fn serve(host: &Host, directory: PathBuf) -> Result<Server> {
    let namespace = host.network_namespace();
    if namespace.is_none() {
        return Server::start_in(None, 0, directory);
    }
    let mut last = None;
    for port in FIRST_PORT..FIRST_PORT + 16 {
        match Server::start_in(namespace.clone(), port, directory.clone()) {
            Ok(server) => return Ok(server),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("no port is free")?)
}

#[track_caller]
fn must<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}
