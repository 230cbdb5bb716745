//! What dnf and zypper read: its metadata, advisories where there are some, signed packages and a signed index.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::index::ReleaseOptions;
use super::{Files, Index, all_in};
use crate::host::Host;
use crate::signing::Key;
use crate::{cache, machine};

/// Where hosts keep the keys they trust.
const KEYS: &str = "/etc/pki/rpm-gpg";

/// The repository that knows what a rpm says of itself: name, version, release, architecture.
const NAMES: &str = "%{NAME}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\t%{EPOCHNUM}";

/// An rpm repository's index.
pub(super) struct Rpm;

impl Index for Rpm {
    fn pool_name(&self, file: &Path) -> Result<String> {
        let [name, version, release, architecture, _] = names(file)?;
        Ok(format!("{name}-{version}-{release}.{architecture}.rpm"))
    }

    /// An epoch is in no file's name.
    fn pool_prefix(&self, name: &str, version: &str) -> String {
        let version = version.split_once(':').map_or(version, |(_, rest)| rest);
        if version.contains('-') {
            format!("{name}-{version}.")
        } else {
            format!("{name}-{version}-")
        }
    }

    fn sign_package(&self, file: &Path, signer: Key) -> Result<()> {
        signer.sign_rpm(file)
    }

    fn write(&self, files: &Files) -> Result<()> {
        let options = files.options();
        let moment = options.date.unwrap_or_else(SystemTime::now);
        let moment = moment.duration_since(UNIX_EPOCH)?.as_secs().to_string();
        let directory = files.directory.as_os_str();
        let arguments = [
            "--quiet",
            "--no-database",
            "--revision",
            &moment,
            "--set-timestamp-to-revision",
        ]
        .map(AsRef::as_ref);
        machine::run("createrepo_c", &[&arguments[..], &[directory]].concat())?;
        if let Some(advisories) = advisories(files, &options)? {
            let file = files.directory.join("updateinfo.xml");
            fs::write(&file, advisories)?;
            machine::run(
                "modifyrepo_c",
                &[file.as_os_str(), repodata(files).as_os_str()],
            )?;
            cache::remove(&file)?;
        }
        let [top, _] = self.tops(files)?;
        if let Some(key) = files.signer() {
            fs::write(top.with_extension("xml.asc"), key.sign_detached(&top)?)?;
        }
        // once more, each with a time of its own
        for file in self.files(files) {
            files.publish(&file, &fs::read(&file)?)?;
        }
        Ok(())
    }

    fn files(&self, files: &Files) -> Vec<PathBuf> {
        all_in(&repodata(files)).unwrap_or_default()
    }

    fn tops(&self, files: &Files) -> Result<[PathBuf; 2]> {
        let mut all = self.files(files).into_iter();
        let list = all
            .find(|file| file.to_string_lossy().contains("primary.xml"))
            .context("the repository has no list of packages")?;
        Ok([repodata(files).join("repomd.xml"), list])
    }

    fn enable(&self, files: &Files, host: &Host, name: &str, url: &str) -> Result<()> {
        let key = format!("{KEYS}/{name}.asc");
        host.write(&key, Key::Trusted.public()?);
        let check = u8::from(files.signer().is_some());
        let definition = format!(
            "[{name}]\nname={name}\nbaseurl={url}\nenabled=1\ngpgcheck={check}\nrepo_gpgcheck={check}\n\
             gpgkey=file://{key}\n"
        );
        host.write(&self.definition(host, name), definition);
        host.sh(&format!("rpm --import {key}"));
        Ok(())
    }

    fn definition(&self, host: &Host, name: &str) -> String {
        format!("{}/{name}.repo", host.manager().sources())
    }
}

fn repodata(files: &Files) -> PathBuf {
    files.directory.join("repodata")
}

fn names(rpm: &Path) -> Result<[String; 5]> {
    let arguments = ["-q", "--nosignature", "--queryformat", NAMES, "-p"].map(AsRef::as_ref);
    let names = machine::run("rpm", &[&arguments[..], &[rpm.as_os_str()]].concat())?;
    let names: Vec<String> = names.split('\t').map(str::to_owned).collect();
    names
        .try_into()
        .ok()
        .with_context(|| format!("'{}' does not say its name", rpm.display()))
}

/// The text of `updateinfo.xml`; none where nothing is to be said.
fn advisories(files: &Files, options: &ReleaseOptions) -> Result<Option<String>> {
    if options.advisory.is_none() && options.advisories.is_empty() {
        return Ok(None);
    }
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates>\n".to_owned();
    for file in files.packages()? {
        let [name, version, release, architecture, epoch] = names(&file)?;
        let of_version = options.advisories.get(&format!("{name}={version}"));
        let known = of_version.or(options.advisories.get(&name));
        let Some(advisory) = known.or(options.advisory.as_ref()) else {
            continue;
        };
        let (kind, (message, asks)) = (advisory.kind(), advisory.asks());
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(
            text,
            "<update from=\"lab@example.org\" status=\"final\" type=\"{kind}\" version=\"1\">\
             <id>LAB-{name}-{version}-{release}</id><title>{name} {version}</title>{message}\
             <issued date=\"2026-01-01 00:00:00\"/><updated date=\"2026-01-01 00:00:00\"/>\
             <severity>{}</severity><description>{name} {version} of the lab</description>\
             <references/><pkglist><collection short=\"lab\"><name>lab</name>\
             <package name=\"{name}\" version=\"{version}\" release=\"{release}\" epoch=\"{epoch}\" \
             arch=\"{architecture}\"><filename>{file}</filename>{asks}</package></collection></pkglist></update>",
            advisory.severity(),
        );
    }
    text.push_str("</updates>\n");
    Ok(Some(text))
}
