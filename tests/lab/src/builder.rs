//! What a host is to be like, and the layers that follow from it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::base::{self, Release};
use crate::host::Host;
use crate::link;
use crate::manager::Manager;
use crate::past::Past;
use crate::product;
use crate::scratch::Scratch;

/// What a host is to be like.
#[derive(Clone, Debug)]
#[must_use]
pub struct HostBuilder {
    pub(crate) release: Release,
    pub(crate) manager: Manager,
    pub(crate) name: String,
    pub(crate) real_network: bool,
    extra_packages: Vec<String>,
    past: Option<Past>,
    product: Product,
}

/// Which build of our package a host has.
#[derive(Clone, Debug)]
enum Product {
    None,
    OfThisCheckout,
    File(PathBuf),
}

impl HostBuilder {
    pub(crate) fn new(release: Release) -> Self {
        Self {
            release,
            manager: Manager::Apt,
            name: "host".to_owned(),
            real_network: false,
            extra_packages: Vec::new(),
            past: None,
            product: Product::OfThisCheckout,
        }
    }

    /// With this package manager besides apt, in whose form its repositories and fixtures then are.
    pub(crate) fn patched_by(self, manager: Manager) -> Self {
        Self { manager, ..self }.extra_packages(manager.packages())
    }

    /// The host's name, `host` unless it is said.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Shares the machine's network, so that the real archive can be reached.
    pub fn network_real(mut self) -> Self {
        self.real_network = true;
        self
    }

    /// Packages of the release that are installed besides the usual ones: another base tree, made once.
    pub fn extra_packages(mut self, packages: &[&str]) -> Self {
        self.extra_packages
            .extend(packages.iter().map(ToString::to_string));
        self
    }

    /// With the packages of this past, one version behind, from the past's own release.
    pub fn past(self, past: &Past) -> Self {
        Self {
            release: past.release,
            past: Some(past.clone()),
            ..self
        }
    }

    /// Without our own package.
    pub fn bare(mut self) -> Self {
        self.product = Product::None;
        self
    }

    /// With this file of our package in place of the one built from this checkout.
    pub fn with_deb(mut self, deb: &Path) -> Self {
        self.product = Product::File(deb.to_owned());
        self
    }

    /// Makes the host and boots it.
    #[track_caller]
    pub fn boot(self) -> Host {
        self.try_boot()
            .unwrap_or_else(|error| panic!("failed to boot a host: {error:#}"))
    }

    /// As [`boot`](Self::boot), for a caller that can go on without.
    pub fn try_boot(self) -> Result<Host> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "hosts are booted by root only"
        );
        ensure!(
            self.past.is_none() || self.extra_packages.is_empty(),
            "a past names all its packages itself"
        );
        allow_many_hosts()?;
        let lower = self.layers()?;
        let scratch = Scratch::create(&lower, !self.real_network)?;
        if self.past.is_some() && !self.real_network {
            link::to_nowhere(scratch.id())?;
        }
        Host::first_boot(scratch, self)
    }

    /// The read-only trees the host is made of, the uppermost first.
    fn layers(&self) -> Result<Vec<PathBuf>> {
        let mut layers = match &self.past {
            Some(past) => past.layers(),
            None => vec![base::tree(self.release, &self.extra_packages)?],
        };
        let deb = match &self.product {
            Product::None => return Ok(layers),
            Product::OfThisCheckout => product::try_deb()?,
            Product::File(file) => file.clone(),
        };
        let layer = product::layer(&layers, &deb, &self.clone().bare())?;
        layers.insert(0, layer);
        Ok(layers)
    }
}

/// Every systemd takes several inotify instances; the kernel's default is used up by the fifth.
fn allow_many_hosts() -> Result<()> {
    let file = "/proc/sys/fs/inotify/max_user_instances";
    let now = fs::read_to_string(file).with_context(|| format!("failed to read '{file}'"))?;
    if now.trim().parse::<u32>().is_ok_and(|now| now < 4096) {
        fs::write(file, "4096").with_context(|| format!("failed to write '{file}'"))?;
    }
    Ok(())
}
