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
    built(None)
}

/// The package of this checkout as it will be in its version `version`: another build of the same sources,
/// which know no other version of themselves.
#[track_caller]
pub fn deb_of_version(version: &str) -> PathBuf {
    built(Some(version))
        .unwrap_or_else(|error| panic!("failed to build our package as {version}: {error:#}"))
}

/// A build of the checkout, made when there is none yet, in the version it has or another one.
fn built(version: Option<&str>) -> Result<PathBuf> {
    let key_of = |sources: &Path| {
        let key = key_of(sources)?;
        Ok::<_, anyhow::Error>(version.map_or(key.clone(), |version| cache::key([&key, version])))
    };
    let repository = repository()?;
    let directory = cache::root().join("product").join(key_of(&repository)?);
    if directory.exists() {
        return find_deb(&directory);
    }
    // what is built is a copy, and named by it: somebody may be editing the checkout
    let _lock = cache::lock("product-build")?;
    let copy = cache::root().join("product-build/source");
    copy_sources(&repository, &copy)?;
    let directory = cache::build_once("product", &key_of(&copy)?, |partial| {
        if let Some(version) = version {
            set_version(&copy, version)?;
        }
        build(&copy, partial)
    })?;
    find_deb(&directory)
}

/// Releases the copy anew: its manifest, its lock file and its changelog name the version.
fn set_version(copy: &Path, version: &str) -> Result<()> {
    for file in ["Cargo.toml", "Cargo.lock"] {
        let path = copy.join(file);
        let text = fs::read_to_string(&path)?;
        let (before, ours) = text
            .split_once("\nname = \"linux-patch-api\"\nversion = \"")
            .with_context(|| format!("no version of ours in '{}'", path.display()))?;
        let (former, after) = ours.split_once('"').context("no end of the version")?;
        let name = &text[before.len()..text.len() - former.len() - after.len() - 1];
        fs::write(&path, format!("{before}{name}{version}\"{after}"))?;
    }
    let path = copy.join("debian/changelog");
    let former = fs::read_to_string(&path)?;
    let entry = format!(
        "linux-patch-api ({version}) unstable; urgency=medium\n\n  * The version after.\n\n \
         -- Lab <lab@example.org>  Sun, 22 Nov 2026 00:00:00 +0000\n\n"
    );
    Ok(fs::write(&path, entry + &former)?)
}

/// The checkout cargo is working on, which need not be the one this was compiled in.
fn repository() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
    let start = manifest.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let top = start
        .ancestors()
        .find(|path| path.join("debian/changelog").exists());
    top.map(Path::to_owned)
        .with_context(|| format!("no debian/changelog in or above '{}'", start.display()))
}

fn key_of(sources: &Path) -> Result<String> {
    let mut contents = Vec::new();
    for source in SOURCES {
        collect(sources, Path::new(source), &mut contents)?;
    }
    Ok(cache::key(contents))
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

/// Builds in the copy, so that neither the checkout nor a build that goes on in it is disturbed.
fn build(copy: &Path, partial: &Path) -> Result<()> {
    let results = copy.parent().context("the copy has no place for results")?;
    if let Ok(former) = find_deb(results) {
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
    let built = find_deb(results)?;
    fs::create_dir_all(partial)?;
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

/// Names and contents of everything at and below `name`, in a fixed order.
fn collect(top: &Path, name: &Path, contents: &mut Vec<Vec<u8>>) -> Result<()> {
    let path = top.join(name);
    if path.is_dir() {
        let mut names: Vec<PathBuf> = fs::read_dir(&path)?
            .flatten()
            .map(|entry| name.join(entry.file_name()))
            .collect();
        names.sort();
        return names
            .iter()
            .try_for_each(|name| collect(top, name, contents));
    }
    if path.exists() {
        contents.push(name.display().to_string().into_bytes());
        contents
            .push(fs::read(&path).with_context(|| format!("failed to read '{}'", path.display()))?);
    }
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
