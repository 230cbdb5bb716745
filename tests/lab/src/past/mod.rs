//! Hosts that are one version behind: real packages of the archive, installed in the version just below their own, so that the archive's are pending on any day.

mod older;
mod relations;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};

use crate::base::{self, Release};
use crate::host::Host;
use crate::manifest::Manifest;
use crate::repo::Repo;
use crate::{cache, deb, link};

pub(crate) use older::files_of;
use relations::Steps;

/// Counted up whenever a past comes out differently for the same packages.
const RECIPE: &str = "1";

/// Where the files lie while they are installed.
const FILES: &str = "/root/former";

/// Packages that a host of any release has or may have: what a month brings, OpenSSL among them.
const USUAL: [&str; 19] = [
    "base-files",
    "bash",
    "ca-certificates",
    "curl",
    "dash",
    "debianutils",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "less",
    "mawk",
    "openssl",
    "perl-base",
    "sed",
    "tar",
    "tzdata",
    "zlib1g",
];

/// A set of real packages, as the archive has them and one version earlier.
///
/// Both are fetched and made once; what the archive gains afterwards changes nothing.
#[derive(Clone, Debug)]
pub struct Past {
    pub(crate) release: Release,
    packages: Vec<Aged>,
    layer: PathBuf,
    base: PathBuf,
}

/// A package of a past.
#[derive(Clone, Debug)]
pub struct Aged {
    /// Its name.
    pub name: String,
    /// The archive's version.
    pub present: String,
    /// The version just below, which a host of this past has.
    pub former: String,
    /// The archive's file.
    pub present_file: PathBuf,
    /// The file of the former version.
    pub former_file: PathBuf,
}

impl Past {
    /// Of these packages and of all that they need and a host does not have; one that a host has already is
    /// made older as well. What depends on one of those in exactly its version has to be named, too.
    #[track_caller]
    pub fn of(release: Release, packages: &[&str]) -> Self {
        Self::try_of(release, packages)
            .unwrap_or_else(|error| panic!("failed to make the past of {packages:?}: {error:#}"))
    }

    /// Of some twenty packages, what they need, and these: an ordinary day's updates, on any day.
    #[track_caller]
    pub fn usual(release: Release, also: &[&str]) -> Self {
        let libssl = match release {
            Release::Bookworm => "libssl3",
            _ => "libssl3t64",
        };
        Self::of(release, &[&USUAL[..], &[libssl], also].concat())
    }

    fn try_of(release: Release, names: &[&str]) -> Result<Self> {
        let base = base::tree(release, &[])?;
        let key = cache::key([&[RECIPE, &cache::name_of(&base)], names].concat());
        let key = format!("{}-{key}", release.codename());
        let archive = cache::build_once("archive", &key, |files| download(release, names, files))?;
        let former = cache::build_once("former", &key, |files| make_former(&archive, files))?;
        let layer = cache::build_once("past", &key, |layer| {
            install(release, names, &former, layer)
        })?;
        let files = debs_in(&archive)?.into_iter();
        Ok(Self {
            release,
            packages: files
                .map(|file| Aged::of(file, &former))
                .collect::<Result<_>>()?,
            layer,
            base,
        })
    }

    /// The packages, in the order of their names.
    pub fn packages(&self) -> &[Aged] {
        &self.packages
    }

    /// A signed repository for this host that has every package in both versions, as an archive has during a
    /// point release; named in the host's sources.
    #[track_caller]
    pub fn archive(&self, host: &Host) -> Repo {
        let repo = Repo::builder("archive").build(host);
        let files = self.packages.iter();
        let files = files.flat_map(|package| [&package.former_file, &package.present_file]);
        repo.add_files(files);
        repo.enable(host);
        repo
    }

    /// The trees that a host of this past is made of, the uppermost first.
    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        vec![self.layer.clone(), self.base.clone()]
    }
}

impl Aged {
    fn of(present_file: PathBuf, former: &Path) -> Result<Self> {
        let former_file = former.join(present_file.file_name().unwrap_or_default());
        let (name, former) = name_and_version(&former_file)?;
        let (_, present) = name_and_version(&present_file)?;
        Ok(Self {
            name,
            present,
            former,
            present_file,
            former_file,
        })
    }

    /// What the archive's file contains.
    #[track_caller]
    pub fn present_files(&self) -> Manifest {
        self.manifest("present")
    }

    /// What the former file contains.
    #[track_caller]
    pub fn former_files(&self) -> Manifest {
        self.manifest("former")
    }

    fn manifest(&self, which: &str) -> Manifest {
        let file = self.former_file.with_extension(which);
        let text = fs::read_to_string(&file).context("failed to read a manifest");
        text.and_then(|text| Manifest::parse(&text))
            .unwrap_or_else(|error| panic!("'{}': {error:#}", file.display()))
    }
}

/// Fetches the packages, as of today.
fn download(release: Release, names: &[&str], files: &Path) -> Result<()> {
    let host = Host::builder(release).bare().network_real().try_boot()?;
    host.enable_real_archive();
    host.sh("apt-get -q update && apt-get -q -y clean");
    host.sh(&format!(
        "apt-get -q -y --no-install-recommends --reinstall --download-only install {}",
        names.join(" ")
    ));
    fs::create_dir_all(files)?;
    let cached = debs_in(&host.root().join("var/cache/apt/archives"))?;
    ensure!(!cached.is_empty(), "apt has fetched nothing");
    for file in cached {
        let name = file.file_name().context("a file without a name")?;
        fs::copy(&file, files.join(name))
            .with_context(|| format!("failed to keep '{}'", file.display()))?;
    }
    Ok(())
}

/// Makes every package older, under the name of its file; beside it what is in either of the two.
fn make_former(archive: &Path, former: &Path) -> Result<()> {
    let files = debs_in(archive)?;
    let controls: Result<Vec<String>> = files.iter().map(|file| deb::control(file)).collect();
    let steps = Steps::of(controls?.iter().map(String::as_str));
    fs::create_dir_all(former)?;
    let next = AtomicUsize::new(0);
    let work = |number: usize| -> Result<()> {
        let tree = former.join(format!("tree-{number}"));
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let to = former.join(file.file_name().unwrap_or_default());
            let contents = older::make(file, &tree, &to, &steps)
                .with_context(|| format!("failed to make '{}' older", file.display()))?;
            for (which, manifest) in ["present", "former"].into_iter().zip(contents) {
                fs::write(to.with_extension(which), manifest.to_text())?;
            }
            cache::remove(&tree)?;
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Installs the former packages on a booted host, so that their services are what they are on a real one.
fn install(release: Release, names: &[&str], former: &Path, layer: &Path) -> Result<()> {
    let host = Host::builder(release).bare().try_boot()?;
    if let Some(network) = host.network_namespace() {
        link::to_nowhere(&cache::name_of(&network))?;
    }
    let installed: Vec<String> = host
        .sh("dpkg-query -W -f='${Package}\\n'")
        .lines()
        .map(str::to_owned)
        .collect();
    let mut dependencies = Vec::new();
    for file in debs_in(former)? {
        let (name, _) = name_and_version(&file)?;
        host.copy_in(&file, &format!("{FILES}/{name}.deb"));
        if !names.contains(&name.as_str()) && !installed.contains(&name) {
            dependencies.push(name);
        }
    }
    host.sh(&format!(
        "apt-get -q -y --no-install-recommends --allow-downgrades --no-remove install {FILES}/*.deb 2>&1"
    ));
    if !dependencies.is_empty() {
        host.sh(&format!("apt-mark auto {}", dependencies.join(" ")));
    }
    host.sh(&format!(
        "rm -r {FILES}; apt-get check; test -z \"$(dpkg --audit)\""
    ));
    host.into_layer(layer)
}

fn name_and_version(file: &Path) -> Result<(String, String)> {
    let control = deb::control(file)?;
    let of = |name| {
        let value = deb::field(&control, name);
        value
            .map(str::to_owned)
            .with_context(|| format!("no {name} in '{}'", file.display()))
    };
    Ok((of("Package")?, of("Version")?))
}

/// The package files of a directory, in a fixed order.
fn debs_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("failed to read '{}'", directory.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    files.sort();
    Ok(files)
}
