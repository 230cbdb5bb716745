//! The gate inside a run of dnf 4 or 5: one run downloads, asks and changes, where it would take one to
//! download and another to change. dnf says no by itself, and yes only when it has loaded the gate: anything
//! that keeps it from that is noticed before something changes.

mod actions;

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::variant::Variant;
use crate::exec::Program;
use crate::fs::write_atomically;
use crate::package::rpm::conf;
use crate::package::rpm::gate::{self, Announced};

/// What dnf 4 is given to load.
const PLUGIN: &str = include_str!("gate.py");

/// The line by which that tells that it is there.
pub const LOADED: &str = "patch_gate: loaded";

/// The variable in which it finds the gate's program and arguments.
const GATE: &str = "PATCH_GATE";

/// Where dnf 5 finds the configuration of its plugins (`pluginconfpath` of dnf5.conf(5)), the plugin that
/// runs actions, and where that finds them.
const PLUGINS: &str = "/etc/dnf/libdnf5-plugins";
const ACTIONS: &str = "actions.conf";
const ACTIONS_OF_IT: &str = "actions.d";

/// A name that comes after those of others, who may still refuse before the gate decides.
const OURS: &str = "~patch-gate.actions";

/// Parses the change list that dnf 5, or we, hand to the gate.
pub fn announced(variant: Variant, input: &mut dyn BufRead) -> Result<Vec<Announced>> {
    if actions::asks() {
        actions::announced(input, &mut std::io::stdout(), &variant.caches())
    } else {
        gate::announced(input)
    }
}

/// The gate, ready to be loaded.
#[derive(Debug, Default)]
pub struct Plugin {
    /// What dnf is told for it.
    options: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// What is there once dnf 5 has loaded it.
    loaded: Option<PathBuf>,
}

impl Plugin {
    /// The gate, from files in a private directory, for one transaction. None where dnf does not load it, or where that
    /// cannot be known beforehand.
    pub fn set_up(
        variant: Variant,
        scratch: &Path,
        gate: (&Path, &[String]),
    ) -> Result<Option<Self>> {
        let (program, arguments) = gate;
        let program = program.to_str().context("the gate's path is not UTF-8")?;
        let words: Vec<&str> = std::iter::once(program)
            .chain(arguments.iter().map(String::as_str))
            .collect();
        let scratch = scratch.join("dnf");
        match variant {
            Variant::Dnf4 => of_dnf_4(&scratch, &words),
            Variant::Dnf5 => of_dnf_5(Path::new(PLUGINS), &scratch, &words),
            Variant::Yum => Ok(None),
        }
    }

    /// The run with it.
    pub fn given_to(&self, program: Program) -> Program {
        let mut program = program.args(&self.options);
        for (name, value) in &self.environment {
            program = program.env(name, value);
        }
        program
    }

    /// Whether dnf 5 has loaded it.
    pub fn is_loaded(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.exists())
    }
}

fn of_dnf_4(directory: &Path, gate: &[&str]) -> Result<Option<Plugin>> {
    let configured = !conf::of_dnf("pluginpath").is_empty();
    let Some(usual) = usual(Path::new("/usr/lib")).filter(|_| !configured) else {
        return Ok(None);
    };
    create(directory)?;
    write_atomically(&directory.join("patch_gate.py"), PLUGIN.as_bytes(), 0o644)?;
    let path = format!("{},{}", usual.display(), directory.display());
    Ok(Some(Plugin {
        options: vec![
            "--assumeno".to_owned(),
            format!("--setopt=pluginpath={path}"),
        ],
        environment: vec![
            (GATE, serde_json::to_string(gate)?),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ],
        loaded: None,
    }))
}

/// A directory of plugins like dnf's own, with one more action. dnf then gets no answer to its question whether that is
/// ok, and no answer means no (FACTS 37), unless the administrator has said otherwise.
fn of_dnf_5(plugins: &Path, scratch: &Path, gate: &[&str]) -> Result<Option<Plugin>> {
    let settings = ["pluginconfpath", "pluginpath", "assumeyes"];
    let configured = settings.iter().any(|s| !conf::of_dnf(s).is_empty());
    let enabled = fs::read_to_string(plugins.join(ACTIONS)).unwrap_or_default();
    let enabled = conf::of_main(&enabled, &["enabled"]);
    if configured || !["1", "yes", "true"].contains(&enabled.concat().as_str()) {
        return Ok(None);
    }
    let directory = scratch.join("libdnf5-plugins");
    let loaded = scratch.join("loaded");
    let Some(actions) = actions::file(&loaded, gate) else {
        return Ok(None);
    };
    let _ = fs::remove_dir_all(&directory);
    let _ = fs::remove_file(&loaded);
    create(&directory.join(ACTIONS_OF_IT))?;
    link(plugins, &directory)?;
    link(&plugins.join(ACTIONS_OF_IT), &directory.join(ACTIONS_OF_IT))?;
    let ours = directory.join(ACTIONS_OF_IT).join(OURS);
    write_atomically(&ours, actions.as_bytes(), 0o644)?;
    Ok(Some(Plugin {
        options: vec![
            "--setopt=defaultyes=0".to_owned(),
            format!("--setopt=pluginconfpath={}", directory.display()),
        ],
        environment: Vec::new(),
        loaded: Some(loaded),
    }))
}

fn create(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("failed to create '{}'", directory.display()))
}

/// Links what lies in a directory from another one, but for what is there already.
fn link(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let link = to.join(entry.file_name());
        if !link.exists() {
            symlink(entry.path(), &link)
                .with_context(|| format!("failed to create '{}'", link.display()))?;
        }
    }
    Ok(())
}

/// Where dnf's own plugins lie: beside its code, below the one version of Python that has it
/// (`PLUGINPATH` of `dnf/const.py`).
fn usual(lib: &Path) -> Option<PathBuf> {
    let of = |python: &fs::DirEntry| {
        let is_python = python.file_name().to_string_lossy().starts_with("python3");
        let places = ["site-packages", "dist-packages"].map(|place| python.path().join(place));
        places
            .into_iter()
            .find(|place| is_python && place.join("dnf/const.py").exists())
    };
    let mut found = fs::read_dir(lib).ok()?.flatten().filter_map(|p| of(&p));
    let place = found.next()?;
    found.next().is_none().then(|| place.join("dnf-plugins"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dnf_s_own_plugins_are_found_where_they_are_unmistakable() {
        let lib = tempfile::tempdir().unwrap();
        assert_eq!(usual(lib.path()), None);
        let code = |python: &str| lib.path().join(python).join("dnf");
        fs::create_dir_all(lib.path().join("python3.9/site-packages")).unwrap();
        let place = "python3.13/site-packages";
        fs::create_dir_all(code(place)).unwrap();
        fs::write(code(place).join("const.py"), "").unwrap();
        let plugins = lib.path().join(place).join("dnf-plugins");
        assert_eq!(usual(lib.path()), Some(plugins));
        let other = "python3/dist-packages";
        fs::create_dir_all(code(other)).unwrap();
        fs::write(code(other).join("const.py"), "").unwrap();
        assert_eq!(usual(lib.path()), None, "which of them runs?");
    }

    #[test]
    fn dnf_5_is_given_the_plugins_it_has_and_the_gate_as_the_last_action() {
        let (plugins, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| fs::write(plugins.path().join(name), text).unwrap();
        let set_up = || of_dnf_5(plugins.path(), scratch.path(), &["/gate", "run"]).unwrap();
        assert!(set_up().is_none(), "there is no such plugin");
        write(ACTIONS, "[main]\nname = actions\nenabled = 0\n");
        assert!(set_up().is_none());
        write(ACTIONS, "[main]\nname = actions\nenabled = 1\n");
        write("local.conf", "[main]\n");
        fs::create_dir(plugins.path().join(ACTIONS_OF_IT)).unwrap();
        write("actions.d/theirs.actions", "");
        for _ in 0..2 {
            let plugin = set_up().unwrap();
            let directory = scratch.path().join("libdnf5-plugins");
            assert!(plugin.options[1].ends_with(directory.to_str().unwrap()));
            assert!(directory.join("local.conf").exists() && directory.join(ACTIONS).exists());
            let actions = directory.join(ACTIONS_OF_IT);
            assert!(actions.join("theirs.actions").exists());
            let ours = fs::read_to_string(actions.join(OURS)).unwrap();
            assert!(ours.ends_with("/gate run\n"));
            assert!(!plugin.is_loaded());
            fs::write(scratch.path().join("loaded"), "").unwrap();
            assert!(plugin.is_loaded(), "until it is set up again");
        }
    }
}
