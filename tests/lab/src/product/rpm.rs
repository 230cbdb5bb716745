//! Our package as an rpm: the spec that a distribution would use, and the macros that Debian's rpm lacks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, machine};

/// What a tarball of the same sources always says.
const EPOCH: &str = "--mtime=2026-01-01 00:00Z";

/// Packs the copy into a tarball, and builds from that; its checks are the unit tests, which `tests/run all`
/// runs by themselves. What cargo has built of other crates is used again.
pub(super) fn build(copy: &Path) -> Result<PathBuf> {
    let results = copy.parent().context("the copy has no place for results")?;
    let top = results.join("rpm");
    cache::remove(&top)?;
    let sources = top.join("SOURCES");
    fs::create_dir_all(&sources)
        .with_context(|| format!("failed to create '{}'", sources.display()))?;
    pack(copy, &sources)?;
    let accounts = "linux-patch-api.conf";
    fs::copy(
        copy.join("units/sysusers.d").join(accounts),
        sources.join(accounts),
    )?;

    let mut command = Command::new("rpmbuild");
    let define = |name: &str, value: &Path| format!("{name} {}", value.display());
    command
        // rpm's database does not know what dpkg has installed
        .args(["-bb", "--nodeps", "--nocheck", "--with", "rustup"])
        .arg("--load")
        .arg(copy.join("tests/lab/debian.macros"))
        .args(["--define", &define("_topdir", &top)])
        .args(["--define", &define("_rpmdir", results)])
        .args([
            "--define",
            &define("cargo_target_dir", &copy.join("target")),
        ])
        .args([
            "--define",
            "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        ])
        .arg(copy.join("rpm/linux-patch-api.spec"));
    // all files are new to cargo: it compares nothing but times, and those of the tarball are made up
    command
        .env("TAR_OPTIONS", "--touch")
        .env_remove("CARGO_TARGET_DIR");
    machine::run_command(&mut command)?;
    cache::remove(&top)?;
    super::find(results, ".rpm")
}

/// The tarball of a release: another one only if the sources are.
fn pack(copy: &Path, sources: &Path) -> Result<()> {
    let spec = fs::read_to_string(copy.join("rpm/linux-patch-api.spec"))?;
    let version = spec
        .lines()
        .find_map(|line| line.strip_prefix("Version:"))
        .context("the spec has no version")?
        .trim();
    let name = format!("linux-patch-api-{version}");
    let mut command = Command::new("tar");
    command
        .args(["--create", "--use-compress-program=gzip -n", "--file"])
        .arg(sources.join(format!("{name}.tar.gz")))
        .args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            EPOCH,
        ])
        .args(["--mode=u+rw,go=rX", "--exclude=./target"])
        .args(["--transform", &format!("s,^[.],{name},")])
        .args(["--directory".as_ref(), copy.as_os_str(), ".".as_ref()]);
    machine::run_command(&mut command).map(drop)
}
