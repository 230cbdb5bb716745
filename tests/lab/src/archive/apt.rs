//! What apt reads: a list of packages, and a Release file with its signature in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::index::{self, Entry, ReleaseOptions};
use super::{Files, Index};
use crate::host::Host;
use crate::signing::Key;
use crate::{cache, deb, machine};

/// An apt repository's index.
pub(super) struct Apt {
    /// The suite it had at its making, which is part of its addresses.
    suite: String,
    /// What was read of the files of the pool, as long as they are the same.
    read: Mutex<BTreeMap<PathBuf, (SystemTime, Entry)>>,
}

impl Apt {
    pub(super) fn new(options: &ReleaseOptions) -> Self {
        Self {
            suite: options.suite.clone(),
            read: Mutex::default(),
        }
    }

    /// What the index says of a file of the pool.
    fn entry(&self, file: &Path) -> Result<Entry> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let modified = fs::metadata(file)?.modified()?;
        match read.get(file) {
            Some((then, entry)) if *then == modified => Ok(entry.clone()),
            _ => {
                let entry = entry(file)?;
                read.insert(file.to_owned(), (modified, entry.clone()));
                Ok(entry)
            }
        }
    }

    fn dists(&self, files: &Files) -> PathBuf {
        files.directory.join("dists").join(&self.suite)
    }
}

impl Index for Apt {
    fn pool_name(&self, file: &Path) -> Result<String> {
        let control = deb::control(file)?;
        let [name, version, architecture] = ["Package", "Version", "Architecture"]
            .map(|name| deb::field(&control, name).unwrap_or_default());
        let version = version.replace(':', "%3a");
        Ok(format!("{name}_{version}_{architecture}.deb"))
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
        let entries: Result<Vec<Entry>> = files
            .packages()?
            .iter()
            .map(|file| self.entry(file))
            .collect();
        let packages = index::packages(&entries?, &options);
        let path = packages_path();
        let contents = contents_path();
        let mut indexes: Vec<(&str, &str)> = vec![(&path, &packages)];
        indexes.extend(options.contents.iter().map(|text| (&*contents, &**text)));
        let release = index::release(&options, &indexes);
        let dists = self.dists(files);
        if let Some(text) = &options.contents {
            files.publish(&dists.join(&contents), text.as_bytes())?;
        }
        if options.by_hash {
            let directory = dists.join(&path).with_file_name("by-hash/SHA256");
            let name = cache::sha256(packages.as_bytes());
            files.publish(&directory.join(name), packages.as_bytes())?;
        }
        files.publish(&dists.join(path), packages.as_bytes())?;
        let (signed, unsigned) = (dists.join("InRelease"), dists.join("Release"));
        if let Some(key) = files.signer() {
            cache::remove(&unsigned)?;
            files.publish(&signed, key.sign(&release)?.as_bytes())
        } else {
            cache::remove(&signed)?;
            files.publish(&unsigned, release.as_bytes())
        }
    }

    fn files(&self, files: &Files) -> Vec<PathBuf> {
        ["InRelease", "Release", &packages_path(), &contents_path()]
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
    let opened = fs::File::open(file);
    let mut opened = opened.with_context(|| format!("failed to read '{}'", file.display()))?;
    Ok(Entry {
        control: deb::control(file)?,
        filename: format!("pool/{name}"),
        size: fs::metadata(file)?.len(),
        sha256: cache::sha256_of(&mut opened)?,
    })
}

fn contents_path() -> String {
    format!("main/Contents-{}", machine::architecture())
}

fn packages_path() -> String {
    format!("main/binary-{}/Packages", machine::architecture())
}
