//! The same made-up packages for the stand-in for apk: an archive of the files, with what is known of the package and its script in it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::deb::Deb;
use crate::{cache, machine};

/// The end of a package file's name.
pub(crate) const SUFFIX: &str = ".apk";

/// The package file of `package`; equal ones are built only once.
pub(crate) fn build(package: &Deb) -> Result<PathBuf> {
    let (name, version) = (package.name(), version(package.version()));
    let key = cache::key([format!("{package:?}")]);
    let file = format!("{name}-{version}{SUFFIX}");
    let directory = cache::build_once("apks", &key, |partial| {
        let tree = partial.join("tree");
        fs::create_dir_all(&tree)
            .with_context(|| format!("failed to create '{}'", tree.display()))?;
        package.lay_out_files(&tree)?;
        let mut needs = Vec::new();
        for (field, value) in &package.fields {
            match field.as_str() {
                "Depends" => needs.push(value.as_str()),
                _ => bail!("the stand-in for apk knows no field {field}"),
            }
        }
        let known = format!("{name} {version} {}\n", needs.join(" "));
        fs::write(tree.join(".known"), known)?;
        let script = package.scripts.iter().find(|(name, _)| *name == "postinst");
        let lines = script.map_or("", |(_, lines)| lines);
        let script = format!("#!/bin/sh\nset -e\nset -- configure\n{lines}\n");
        fs::write(tree.join(".post-upgrade"), script)?;
        let archive = partial.join(&file);
        let words = ["--owner=0", "--group=0", "-cf"].map(AsRef::as_ref);
        let rest = [
            archive.as_os_str(),
            "-C".as_ref(),
            tree.as_os_str(),
            ".".as_ref(),
        ];
        machine::run("tar", &[&words[..], &rest].concat())?;
        cache::remove(&tree)
    })?;
    Ok(directory.join(file))
}

/// A version as apk writes it: with its release, and without an epoch, which it does not know.
pub(crate) fn version(version: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let (version, release) = version.split_once('-').unwrap_or((version, "0"));
    format!("{version}-r{release}")
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_translated() {
        assert_eq!(version("1:2.0"), "2.0-r0");
        assert_eq!(version("2.0-3"), "2.0-r3");
    }
}
