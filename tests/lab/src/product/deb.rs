//! Our package as a Debian package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, machine};

/// Builds in the copy, so that neither the checkout nor a build that goes on in it is disturbed.
pub(super) fn build(copy: &Path) -> Result<PathBuf> {
    let results = copy.parent().context("the copy has no place for results")?;
    if let Ok(former) = super::find(results, ".deb") {
        cache::remove(&former)?;
    }
    let mut command = Command::new("dpkg-buildpackage");
    command
        .args(["-us", "-uc", "-b", "-Ppkg.linux-patch-api.rustup"])
        .current_dir(copy);
    command
        .env("DEB_BUILD_OPTIONS", "nocheck noautodbgsym")
        .env_remove("CARGO_TARGET_DIR");
    machine::run_command(&mut command)?;
    super::find(results, ".deb")
}
