//! What the stand-in for apk reads: a list of the newest packages, with what each needs, unsigned.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Files, Index};
use crate::host::Host;
use crate::machine;
use crate::signing::Key;

/// A repository of the stand-in's.
pub(super) struct Apk;

impl Index for Apk {
    fn pool_name(&self, file: &Path) -> Result<String> {
        let name = file.file_name().context("the package has no name")?;
        Ok(name.to_string_lossy().into_owned())
    }

    fn pool_prefix(&self, name: &str, version: &str) -> String {
        format!("{name}-{}.", crate::apk::version(version))
    }

    fn sign_package(&self, _file: &Path, _signer: Key) -> Result<()> {
        Ok(())
    }

    /// The last in the order of their names is the newest.
    fn write(&self, files: &Files) -> Result<()> {
        let mut newest = BTreeMap::new();
        for file in files.packages()? {
            let arguments = ["-xOf".as_ref(), file.as_os_str(), "./.known".as_ref()];
            let known = machine::run("tar", &arguments)?;
            let name = known.split(' ').next().unwrap_or_default().to_owned();
            newest.insert(name, known.trim_end().to_owned() + "\n");
        }
        let [index, _] = self.tops(files)?;
        files.publish(&index, newest.into_values().collect::<String>().as_bytes())
    }

    fn files(&self, files: &Files) -> Vec<PathBuf> {
        vec![files.directory.join("INDEX")]
    }

    fn tops(&self, files: &Files) -> Result<[PathBuf; 2]> {
        let index = files.directory.join("INDEX");
        Ok([index.clone(), index])
    }

    fn enable(&self, _files: &Files, host: &Host, name: &str, url: &str) -> Result<()> {
        host.append(&self.definition(host, name), format!("{url}\n"));
        Ok(())
    }

    fn definition(&self, host: &Host, _name: &str) -> String {
        host.manager().sources().to_owned()
    }
}
