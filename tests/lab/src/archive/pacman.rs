//! What pacman reads: a database beside the packages, each with its signature.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Files, Index};
use crate::host::Host;
use crate::signing::Key;
use crate::{cache, pkg};

/// Where hosts keep the keys they trust.
const GNUPG: &str = "/etc/pacman.d/gnupg";

/// A pacman repository's database.
pub(super) struct Pacman;

impl Index for Pacman {
    fn pool_name(&self, file: &Path) -> Result<String> {
        let name = file.file_name().context("the package has no name")?;
        Ok(name.to_string_lossy().into_owned())
    }

    fn pool_prefix(&self, name: &str, version: &str) -> String {
        format!("{name}-{version}-")
    }

    fn sign_package(&self, file: &Path, signer: Key) -> Result<()> {
        signer.sign_beside(file)
    }

    fn write(&self, files: &Files) -> Result<()> {
        let name = database(files);
        let work = files.directory.join("index");
        cache::remove(&work)?;
        fs::create_dir_all(&work)?;
        let add = format!(
            "cd /mnt/pool && repo-add --quiet --prevent-downgrade /mnt/index/{name}.tar.gz \
             $(find . -name '*{}' | sort -V)",
            pkg::SUFFIX
        );
        pkg::run_in_tree(&files.directory, &[], &["sh", "-c", &add])?;
        let [published, _] = self.tops(files)?;
        let bytes = fs::read(work.join(format!("{name}.tar.gz")))
            .context("repo-add has written no database")?;
        files.publish(&published, &bytes)?;
        cache::remove(&signature(&published))?;
        let Some(signer) = files.signer() else {
            return Ok(());
        };
        signer.sign_beside(&published)?;
        // pacman asks for a newer signature, too, and one of the same second would not be sent
        let signature = signature(&published);
        files.publish(&signature, &fs::read(&signature)?)
    }

    fn files(&self, files: &Files) -> Vec<PathBuf> {
        let published = files.pool().join(database(files));
        vec![signature(&published), published]
    }

    /// One file is both.
    fn tops(&self, files: &Files) -> Result<[PathBuf; 2]> {
        let published = files.pool().join(database(files));
        Ok([published.clone(), published])
    }

    fn enable(&self, files: &Files, host: &Host, name: &str, url: &str) -> Result<()> {
        let level = match files.signer() {
            Some(_) => "Required",
            None => "Never",
        };
        let definition = format!("[{name}]\nSigLevel = {level}\nServer = {url}pool\n");
        host.write(&self.definition(host, name), definition);
        host.write("/root/lab.asc", Key::Trusted.public()?);
        // what pacman-key does, without a master key of the host's own; its gpg.conf works read-only, too
        host.write(
            &format!("{GNUPG}/gpg.conf"),
            "no-greeting\nno-permission-warning\nlock-never\n",
        );
        host.sh(&format!(
            "chmod 0755 {GNUPG}; touch {GNUPG}/pubring.gpg; gpg --homedir {GNUPG} --batch --quiet --import /root/lab.asc 2>&1; \
             gpg --homedir {GNUPG} --batch --with-colons --list-keys 2>/dev/null \
               | awk -F: '$1 == \"fpr\" {{ print $10 \":6:\" }}' \
               | gpg --homedir {GNUPG} --batch --quiet --import-ownertrust 2>&1; \
             gpg --homedir {GNUPG} --batch --quiet --check-trustdb 2>&1; \
             chmod 0644 {GNUPG}/pubring.* {GNUPG}/trustdb.gpg; rm /root/lab.asc"
        ));
        Ok(())
    }

    fn definition(&self, host: &Host, name: &str) -> String {
        format!("{}/{name}.conf", host.manager().sources())
    }
}

/// The database has the name of its repository, and so has the directory.
fn database(files: &Files) -> String {
    let directory = files
        .directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    format!("{}.db", directory.trim_start_matches("repo-"))
}

fn signature(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}
