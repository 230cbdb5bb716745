//! What apt reads: a list of packages, and a Release file with its signature in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::index::{self, Entry, ReleaseOptions};
use super::{Files, Index};
use crate::host::Host;
use crate::signing::Key;
use crate::{cache, machine};

/// An apt repository's index.
pub(super) struct Apt {
    /// The suite it had at its making, which is part of its addresses.
    suite: String,
}

impl Apt {
    pub(super) fn new(options: &ReleaseOptions) -> Self {
        Self {
            suite: options.suite.clone(),
        }
    }

    fn dists(&self, files: &Files) -> PathBuf {
        files.directory.join("dists").join(&self.suite)
    }
}

impl Index for Apt {
    fn pool_name(&self, file: &Path) -> Result<String> {
        let fields = ["Package", "Version", "Architecture"].map(|field| control(file, &[field]));
        let [name, version, architecture] = fields;
        let version = version?.trim().replace(':', "%3a");
        Ok(format!(
            "{}_{version}_{}.deb",
            name?.trim(),
            architecture?.trim()
        ))
    }

    fn pool_prefix(&self, name: &str, version: &str) -> String {
        format!("{name}_{}_", version.replace(':', "%3a"))
    }

    /// Debian signs the index alone, which names the checksums of the packages.
    fn sign_package(&self, _file: &Path, _signer: Key) -> Result<()> {
        Ok(())
    }

    fn write(&self, files: &Files) -> Result<()> {
        let options = files.options();
        let entries: Result<Vec<Entry>> =
            files.packages()?.iter().map(|file| entry(file)).collect();
        let packages = index::packages(&entries?, &options);
        let path = packages_path();
        let release = index::release(&options, &[(&path, &packages)]);
        for file in self.files(files) {
            cache::remove(&file)?;
        }
        let dists = self.dists(files);
        files.publish(&dists.join(path), packages.as_bytes())?;
        match files.signer() {
            Some(key) => files.publish(&dists.join("InRelease"), key.sign(&release)?.as_bytes()),
            None => files.publish(&dists.join("Release"), release.as_bytes()),
        }
    }

    fn files(&self, files: &Files) -> Vec<PathBuf> {
        ["InRelease", "Release", &packages_path()]
            .map(|name| self.dists(files).join(name))
            .to_vec()
    }

    fn tops(&self, files: &Files) -> Result<[PathBuf; 2]> {
        Ok(["InRelease", &packages_path()].map(|name| self.dists(files).join(name)))
    }

    fn enable(&self, files: &Files, host: &Host, name: &str, url: &str) -> Result<()> {
        let keyring = format!("/etc/apt/keyrings/{name}.asc");
        host.write(&keyring, Key::Trusted.public()?);
        let trust = match files.signer() {
            Some(_) => format!("Signed-By: {keyring}"),
            None => "Trusted: yes".to_owned(),
        };
        let suite = &self.suite;
        host.write(
            &self.definition(host, name),
            format!("Types: deb\nURIs: {url}\nSuites: {suite}\nComponents: main\n{trust}\n"),
        );
        Ok(())
    }

    fn definition(&self, host: &Host, name: &str) -> String {
        format!("{}/{name}.sources", host.manager().sources())
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
