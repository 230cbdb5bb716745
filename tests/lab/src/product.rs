//! Our own package: built once per state of the sources, and installed once per base tree and build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::builder::HostBuilder;
use crate::{cache, machine, scratch};

/// What the package is made of, below the top of the repository; the rest may change without a new build.
const SOURCES: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "debian",
    "src",
    "units",
];

/// Layers of so many builds of our package are kept.
const BUILDS_KEPT: usize = 3;

/// The package file: `LAB_DEB`, or one that is built from this checkout when its sources have changed.
#[track_caller]
pub fn deb() -> PathBuf {
    try_deb().unwrap_or_else(|error| panic!("failed to build our package: {error:#}"))
}

pub(crate) fn try_deb() -> Result<PathBuf> {
    if let Some(file) = std::env::var_os("LAB_DEB") {
        return fs::canonicalize(&file)
            .with_context(|| format!("LAB_DEB: failed to find '{}'", file.display()));
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()?;
    let mut contents = Vec::new();
    for source in SOURCES {
        collect(&repository.join(source), &mut contents)?;
    }
    let key = cache::key(contents);
    let directory = cache::build_once("product", &key, |partial| build(&repository, partial))?;
    find_deb(&directory)
}

/// The layer that holds the package `deb` installed on `base`, made by installing it on a booted host.
pub(crate) fn layer(base: &Path, deb: &Path, bare_host: &HostBuilder) -> Result<PathBuf> {
    let bytes = fs::read(deb).with_context(|| format!("failed to read '{}'", deb.display()))?;
    let base = base.file_name().unwrap_or_default().to_string_lossy();
    let key = format!("{}-{base}", cache::key([&bytes]));
    let layer = cache::build_once("layers", &key, |partial| {
        let host = bare_host.clone().try_boot()?;
        host.install(deb);
        host.into_layer(partial)
    })?;
    prune(&layer)?;
    Ok(layer)
}

/// Builds in a copy, so that neither the checkout nor a build that goes on in it is disturbed.
fn build(repository: &Path, partial: &Path) -> Result<()> {
    let _lock = cache::lock("product-build")?;
    let copy = cache::root().join("product-build/source");
    copy_sources(repository, &copy)?;
    if let Ok(former) = find_deb(&cache::root().join("product-build")) {
        cache::remove(&former)?;
    }
    let mut command = Command::new("dpkg-buildpackage");
    command
        .args(["-us", "-uc", "-b", "-Ppkg.linux-patch-api.rustup"])
        .current_dir(&copy);
    machine::run_command(
        command
            .env("DEB_BUILD_OPTIONS", "nocheck noautodbgsym")
            .env_remove("CARGO_TARGET_DIR"),
    )?;
    fs::create_dir_all(partial)?;
    let built = find_deb(&cache::root().join("product-build"))?;
    let name = built.file_name().context("the package has no name")?;
    fs::rename(&built, partial.join(name)).context("failed to keep the package")
}

/// Everything but `target`, which stays from the last build, and what git and editors keep for themselves.
fn copy_sources(repository: &Path, copy: &Path) -> Result<()> {
    fs::create_dir_all(copy).with_context(|| format!("failed to create '{}'", copy.display()))?;
    for entry in fs::read_dir(copy)?
        .flatten()
        .filter(|entry| entry.file_name() != "target")
    {
        cache::remove(&entry.path())?;
    }
    for entry in fs::read_dir(repository)?.flatten() {
        let name = entry.file_name();
        if name != "target" && !name.to_string_lossy().starts_with('.') {
            machine::run(
                "cp",
                &["-a".as_ref(), entry.path().as_os_str(), copy.as_os_str()],
            )?;
        }
    }
    Ok(())
}

/// The one package file of a directory that is ours and no debugging symbols.
fn find_deb(directory: &Path) -> Result<PathBuf> {
    let files = fs::read_dir(directory)
        .with_context(|| format!("failed to read '{}'", directory.display()))?;
    files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("linux-patch-api_") && name.ends_with(".deb")
        })
        .with_context(|| format!("no package in '{}'", directory.display()))
}

/// Names and contents of everything below `path`, in a fixed order.
fn collect(path: &Path, contents: &mut Vec<Vec<u8>>) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path)?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        return entries
            .iter()
            .try_for_each(|entry| collect(entry, contents));
    }
    contents.push(path.display().to_string().into_bytes());
    contents.push(fs::read(path).with_context(|| format!("failed to read '{}'", path.display()))?);
    Ok(())
}

/// Removes the layers of former builds, unless a host is using them.
fn prune(current: &Path) -> Result<()> {
    let mut layers: Vec<(SystemTime, PathBuf)> = fs::read_dir(cache::root().join("layers"))?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.created().ok()?, entry.path())))
        .collect();
    layers.sort_unstable_by(|one, other| other.cmp(one));
    let mut kept = vec![build_of(current)];
    for (_, layer) in &layers {
        let build = build_of(layer);
        if kept.contains(&build) {
            continue;
        }
        if kept.len() < BUILDS_KEPT {
            kept.push(build);
        } else if !scratch::is_in_use(layer) {
            cache::remove(layer)?;
        }
    }
    Ok(())
}

/// A layer's name begins with the build of our package it holds.
fn build_of(layer: &Path) -> String {
    let name = layer.file_name().unwrap_or_default().to_string_lossy();
    name.split('-').next().unwrap_or_default().to_owned()
}
