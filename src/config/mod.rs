//! The configuration: fragments in four places, merged and validated.

mod foreign_shutdown;
mod fragment;

pub use foreign_shutdown::ForeignShutdown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use self::fragment::Fragment;
use crate::paths::{Paths, quoted};
use crate::request::{RebootPolicy, RestartPolicy};
use crate::sorted;

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The package manager to use; detected when not set.
    pub backend: Option<String>,
    /// Hosts whose package sources may fail without failing the refresh.
    pub tolerate: Vec<String>,
    /// Whether a refresh also downloads what is pending.
    pub stage: bool,
    /// How many ended jobs are kept at most.
    pub keep_jobs: usize,
    /// For how many days an ended job is kept at most.
    pub keep_days: u32,
    /// How long the package manager may report nothing while packages change before an alert is raised; no alert when
    /// not set.
    pub stuck_after: Option<Duration>,
    /// How an update is verified.
    pub verify: VerifyConfig,
    /// How an update is undone.
    pub rollback: RollbackConfig,
    /// The reboot after an update.
    pub reboot: RebootConfig,
    /// The services that run what an update has replaced.
    pub services: ServicesConfig,
}

/// The table `[verify]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyConfig {
    /// How long a service that was started by an update has to stay up.
    pub settle: Duration,
    /// How long a program in `verify.d` may take.
    pub timeout: Duration,
}

/// The table `[rollback]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackConfig {
    /// Whether an update that fails its verification is undone without being asked.
    pub automatic: bool,
    /// Whether an update that could not be undone is refused.
    pub require: bool,
    /// How many bytes of packages are kept.
    pub keep_size: u64,
    /// Whether old kernels are removed where a new one has no room.
    pub remove_old_kernels: bool,
}

/// The table `[reboot]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebootConfig {
    /// Whether there is one, unless the request says so.
    pub policy: RebootPolicy,
    /// How long after the update.
    pub delay: Duration,
    /// What those who are logged in are told.
    pub message: Option<String>,
    /// What an update does while another program or a person has scheduled a shutdown.
    pub foreign: ForeignShutdown,
}

/// The table `[services]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicesConfig {
    /// Whether they are restarted, unless the request says so.
    pub restart: RestartPolicy,
    /// Units that are never restarted, besides those that this program knows; `*` and `?` stand for
    /// any characters and any one.
    pub never: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: None,
            tolerate: Vec::new(),
            stage: false,
            keep_jobs: 2000,
            keep_days: 365,
            stuck_after: Some(Duration::from_secs(15 * 60)),
            verify: VerifyConfig {
                settle: Duration::from_secs(5),
                timeout: Duration::from_secs(60),
            },
            rollback: RollbackConfig {
                automatic: true,
                require: false,
                keep_size: 1 << 30,
                remove_old_kernels: false,
            },
            reboot: RebootConfig {
                policy: RebootPolicy::Never,
                delay: Duration::from_secs(5 * 60),
                message: None,
                foreign: ForeignShutdown::Wait,
            },
            services: ServicesConfig::default(),
        }
    }
}

impl Config {
    /// Reads every fragment, later ones winning key by key: `/usr/lib/linux_patch_api/config.d`,
    /// `/etc/linux_patch_api/config.toml`, `/etc/linux_patch_api/config.d`,
    /// `/run/linux_patch_api/config.d`; in each directory `*.toml` in the order of their names, and
    /// a file hides those of the same name in directories before it, as systemd's drop-ins do.
    pub fn load(paths: &Paths) -> Result<Self> {
        let mut config = Self::default();
        for path in fragments(paths)? {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("failed to read {}", quoted(&path)))?;
            config.add(&path, &text)?;
        }
        Ok(config)
    }

    /// Takes over what the file `path` says, key by key.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<()> {
        self.merge(fragment::parse(path, text)?);
        Ok(())
    }

    fn merge(&mut self, fragment: Fragment) {
        if fragment.backend.is_some() {
            self.backend = fragment.backend;
        }
        if let Some(tolerate) = fragment.refresh.tolerate {
            self.tolerate = tolerate;
        }
        self.stage = fragment.refresh.stage.unwrap_or(self.stage);
        self.keep_jobs = fragment.jobs.keep.unwrap_or(self.keep_jobs);
        self.keep_days = fragment.jobs.keep_days.unwrap_or(self.keep_days);
        if let Some(span) = fragment.apply.stuck_after {
            self.stuck_after = Some(span.0).filter(|span| !span.is_zero());
        }
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let (verify, rollback) = (&mut self.verify, &mut self.rollback);
        verify.settle = fragment.verify.settle.map_or(verify.settle, seconds);
        let timeout = fragment.verify.timeout.map(u32::from);
        verify.timeout = timeout.map_or(verify.timeout, seconds);
        let undo = fragment.rollback;
        rollback.automatic = undo.automatic.unwrap_or(rollback.automatic);
        rollback.require = undo.require_rollback.unwrap_or(rollback.require);
        rollback.remove_old_kernels = undo
            .remove_old_kernels
            .unwrap_or(rollback.remove_old_kernels);
        rollback.keep_size = undo.keep_size.map_or(rollback.keep_size, |size| size.0);
        let (reboot, services) = (&mut self.reboot, &mut self.services);
        reboot.policy = fragment.reboot.policy.unwrap_or(reboot.policy);
        reboot.delay = fragment.reboot.delay.map_or(reboot.delay, |span| span.0);
        if fragment.reboot.message.is_some() {
            reboot.message = fragment.reboot.message;
        }
        reboot.foreign = fragment.reboot.foreign.unwrap_or(reboot.foreign);
        services.restart = fragment.services.restart.unwrap_or(services.restart);
        if let Some(never) = fragment.services.never {
            services.never = never;
        }
    }
}

/// The files that the configuration is made of, in the order in which they are merged.
pub fn fragments(paths: &Paths) -> Result<Vec<PathBuf>> {
    let main = paths.host("/etc/linux_patch_api/config.toml");
    let mut files = directory(&paths.host("/usr/lib/linux_patch_api/config.d"))?;
    if main.exists() {
        files.push(main);
    }
    for later in [
        "/etc/linux_patch_api/config.d",
        "/run/linux_patch_api/config.d",
    ] {
        let later = directory(&paths.host(later))?;
        let in_a_directory = |path: &Path| path.parent().is_some_and(|p| p.ends_with("config.d"));
        files.retain(|earlier| {
            !in_a_directory(earlier) || later.iter().all(|l| l.file_name() != earlier.file_name())
        });
        files.extend(later);
    }
    Ok(files)
}

fn directory(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("failed to read {}", quoted(path)));
        }
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry
            .with_context(|| format!("failed to read {}", quoted(path)))?
            .path();
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(file);
        }
    }
    sorted::sort(&mut files);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Paths) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let paths = Paths::below(root.path());
        (root, paths)
    }

    #[test]
    fn nothing_configured_is_the_default() {
        let (_root, paths) = host(&[]);
        assert_eq!(Config::load(&paths).unwrap(), Config::default());
    }

    #[test]
    fn later_fragments_win_key_by_key() {
        let (_root, paths) = host(&[
            (
                "usr/lib/linux_patch_api/config.d/10-a.toml",
                "backend = \"dnf\"\n",
            ),
            (
                "usr/lib/linux_patch_api/config.d/20-b.toml",
                "backend = \"zypper\"\n",
            ),
            (
                "etc/linux_patch_api/config.toml",
                "[refresh]\ntolerate = [\"a.example\"]\n[jobs]\nkeep = 5\n",
            ),
            ("etc/linux_patch_api/config.d/20-b.toml", ""),
            (
                "run/linux_patch_api/config.d/x.toml",
                "[refresh]\ntolerate = []\n",
            ),
            ("etc/linux_patch_api/config.d/ignored.txt", "?"),
        ]);
        let config = Config::load(&paths).unwrap();
        assert_eq!(
            config.backend.as_deref(),
            Some("dnf"),
            "20-b.toml is hidden by an empty one"
        );
        assert!(config.tolerate.is_empty());
        assert_eq!((config.keep_jobs, config.keep_days), (5, 365));
    }

    #[test]
    fn patience_is_a_span_and_0_is_for_ever() {
        let patience = |text: &str| {
            let text = format!("[apply]\nstuck_after = \"{text}\"\n");
            let (_root, paths) = host(&[("etc/linux_patch_api/config.toml", &text)]);
            Config::load(&paths).map(|config| config.stuck_after)
        };
        assert_eq!(patience("0").unwrap(), None);
        assert_eq!(patience("2min").unwrap(), Some(Duration::from_secs(120)));
        let error = format!("{:#}", patience("soon").unwrap_err());
        assert!(
            error.contains("line 2: 'soon' is not a time span"),
            "{error}"
        );
    }

    #[test]
    fn a_size_has_a_unit() {
        let size = |text: &str| {
            let text = format!("[rollback]\nkeep_size = \"{text}\"\n");
            let (_root, paths) = host(&[("etc/linux_patch_api/config.toml", &text)]);
            Config::load(&paths).map(|config| config.rollback.keep_size)
        };
        assert_eq!(size("0").unwrap(), 0);
        assert_eq!(size("500M").unwrap(), 500 << 20);
        assert_eq!(size("2G").unwrap(), 2 << 30);
        for wrong in ["", "G", "-1", "1.5G", "1GB", "1 G", "99999999T"] {
            let error = format!("{:#}", size(wrong).unwrap_err());
            assert!(
                error.contains("line 2") && error.contains("is not a size"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unknown_key_names_file_and_line() {
        for text in [
            "\n\n[refresh]\ntolerat = []\n",
            "\n\n\nfoo = 1\n",
            "\n\n\nbackend = \n",
        ] {
            let (_root, paths) = host(&[("etc/linux_patch_api/config.toml", text)]);
            let error = format!("{:#}", Config::load(&paths).unwrap_err());
            assert!(error.contains("config.toml', line 4: "), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
