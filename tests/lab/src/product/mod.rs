//! Our own package: built once per state of the sources, and installed once per base tree and build.

mod deb;
mod rpm;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::builder::HostBuilder;
use crate::{cache, machine, scratch};

/// What every package is made of, below the top of the repository.
const SOURCES: &[&str] = &["Cargo.lock", "Cargo.toml", "README.md", "src", "units"];

/// Layers of so many builds of our package are kept.
const BUILDS_KEPT: usize = 3;

/// A form our package comes in.
#[derive(Clone, Copy)]
enum Kind {
    Deb,
    Rpm,
}

/// The Debian package: `LAB_DEB`, or one that is built from this checkout when its sources have changed.
#[track_caller]
pub fn deb() -> PathBuf {
    must(try_deb())
}

pub(crate) fn try_deb() -> Result<PathBuf> {
    given_or_built("LAB_DEB", Kind::Deb)
}

/// The rpm: `LAB_RPM`, or one that is built from this checkout when its sources have changed.
#[track_caller]
pub fn rpm() -> PathBuf {
    must(given_or_built("LAB_RPM", Kind::Rpm))
}

/// The Debian package of this checkout as it will be in its version `version`: another build of the same
/// sources, which know no other version of themselves.
#[track_caller]
pub fn deb_of_version(version: &str) -> PathBuf {
    must(built(Kind::Deb, Some(version)))
}

/// As [`deb_of_version`], the rpm.
#[track_caller]
pub fn rpm_of_version(version: &str) -> PathBuf {
    must(built(Kind::Rpm, Some(version)))
}

fn given_or_built(variable: &str, kind: Kind) -> Result<PathBuf> {
    match std::env::var_os(variable) {
        Some(file) => fs::canonicalize(&file)
            .with_context(|| format!("{variable}: failed to find '{}'", file.display())),
        None => built(kind, None),
    }
}

/// A build of the checkout, made when there is none yet, in the version it has or another one.
fn built(kind: Kind, version: Option<&str>) -> Result<PathBuf> {
    let key_of = |sources: &Path| {
        let key = key_of(kind, sources)?;
        Ok::<_, anyhow::Error>(version.map_or(key.clone(), |version| cache::key([&key, version])))
    };
    let repository = repository()?;
    let directory = cache::root().join("product").join(key_of(&repository)?);
    if directory.exists() {
        return find(&directory, kind.suffix());
    }
    // what is built is a copy, and named by it: the checkout may be edited meanwhile
    let _lock = cache::lock("product-build")?;
    let copy = cache::root().join("product-build/source");
    copy_sources(&repository, &copy)?;
    let directory = cache::build_once("product", &key_of(&copy)?, |partial| {
        if let Some(version) = version {
            set_version(&copy, version)?;
        }
        let built = match kind {
            Kind::Deb => deb::build(&copy)?,
            Kind::Rpm => rpm::build(&copy)?,
        };
        fs::create_dir_all(partial)?;
        let name = built.file_name().context("the package has no name")?;
        fs::rename(&built, partial.join(name)).context("failed to keep the package")
    })?;
    find(&directory, kind.suffix())
}

impl Kind {
    /// What it is made of; the rest may change without a new build.
    fn sources(self) -> impl Iterator<Item = &'static str> {
        let own: &[&str] = match self {
            Self::Deb => &["debian"],
            Self::Rpm => &["rpm", "tests/lab/debian.macros"],
        };
        SOURCES.iter().chain(own).copied()
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Deb => ".deb",
            Self::Rpm => ".rpm",
        }
    }
}

/// Makes another release of the copy: its manifest, its lock file, its changelog and its spec name the version.
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
    fs::write(&path, entry + &former)?;
    let path = copy.join("rpm/linux-patch-api.spec");
    let spec = fs::read_to_string(&path)?;
    let (before, after) = spec
        .split_once("\nVersion:")
        .context("no version in the spec")?;
    let (_, after) = after.split_once('\n').context("no end of the version")?;
    Ok(fs::write(
        &path,
        format!("{before}\nVersion: {version}\n{after}"),
    )?)
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

fn key_of(kind: Kind, top: &Path) -> Result<String> {
    let mut contents = Vec::new();
    for source in kind.sources() {
        collect(top, Path::new(source), &mut contents)?;
    }
    // another profile makes another program of the same source
    for (name, value) in std::env::vars_os().filter(|(name, _)| is_profile(name)) {
        contents.extend([name, value].map(OsString::into_encoded_bytes));
    }
    Ok(cache::key(contents))
}

/// Whether the package is built as it is released: no variable of the environment sets another release profile.
#[must_use]
pub fn is_as_released() -> bool {
    let other = |name: &OsStr| name.to_string_lossy().starts_with("CARGO_PROFILE_RELEASE_");
    !std::env::vars_os().any(|(name, _)| other(&name))
}

fn is_profile(variable: &OsStr) -> bool {
    variable.to_string_lossy().starts_with("CARGO_PROFILE_")
}

/// The layer that holds the package `deb` installed on these trees, made by installing it on a booted host.
pub(crate) fn layer(below: &[PathBuf], deb: &Path, bare_host: &HostBuilder) -> Result<PathBuf> {
    let bytes = fs::read(deb).with_context(|| format!("failed to read '{}'", deb.display()))?;
    let below = below
        .first()
        .context("a host is made of at least one tree")?;
    let key = format!("{}-{}", cache::key([&bytes]), cache::name_of(below));
    let layer = cache::build_once("layers", &key, |partial| {
        let host = bare_host.clone().try_boot()?;
        host.install(deb);
        host.into_layer(partial)
    })?;
    prune(&layer)?;
    Ok(layer)
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
            // with new times, which are all that cargo compares: another checkout's files may be older, and differ
            let how = ["--recursive", "--preserve=mode,links"].map(AsRef::as_ref);
            machine::run(
                "cp",
                &[&how[..], &[entry.path().as_os_str(), copy.as_os_str()]].concat(),
            )?;
        }
    }
    Ok(())
}

/// The one package file of a directory that is ours and no debugging symbols.
fn find(directory: &Path, suffix: &str) -> Result<PathBuf> {
    let files = fs::read_dir(directory)
        .with_context(|| format!("failed to read '{}'", directory.display()))?;
    files
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("linux-patch-api")
                && !name.contains("dbgsym")
                && name.ends_with(suffix)
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

#[track_caller]
fn must(result: Result<PathBuf>) -> PathBuf {
    result.unwrap_or_else(|error| panic!("failed to build our package: {error:#}"))
}
