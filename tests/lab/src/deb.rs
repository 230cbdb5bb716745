//! Packages made up by a test: a few lines say what is in them, and equal ones are built only once.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{apk, cache, machine, pkg, rpm};

/// What a package is to contain, in dpkg's words; the other formats are made from the same description.
#[derive(Clone, Debug)]
#[must_use]
pub struct Deb {
    name: String,
    version: String,
    pub(crate) architecture: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) files: Vec<(String, Vec<u8>, u32)>,
    pub(crate) conffiles: Vec<String>,
    pub(crate) scripts: Vec<(&'static str, String)>,
    pub(crate) triggers: Vec<String>,
}

impl Deb {
    /// An empty package for every architecture.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: "all".to_owned(),
            fields: Vec::new(),
            files: Vec::new(),
            conffiles: Vec::new(),
            scripts: Vec::new(),
            triggers: Vec::new(),
        }
    }

    /// The package's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The package's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Another architecture than `all`; `native` is the machine's own.
    pub fn arch(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        if architecture == "native" {
            machine::architecture().clone_into(&mut self.architecture);
        }
        self
    }

    /// `Depends:`
    pub fn depends(self, on: &str) -> Self {
        self.field("Depends", on)
    }

    /// `Conflicts:`
    pub fn conflicts(self, with: &str) -> Self {
        self.field("Conflicts", with)
    }

    /// `Breaks:`
    pub fn breaks(self, what: &str) -> Self {
        self.field("Breaks", what)
    }

    /// Any other field of the control file.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file at an absolute path.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_with_mode(path, content, 0o644)
    }

    /// A program at an absolute path.
    pub fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_with_mode(path, content, 0o755)
    }

    /// A configuration file: dpkg keeps what the administrator changed in it.
    pub fn conffile(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.conffiles.push(path.to_owned());
        self.file(path, content)
    }

    /// A unit named after the package.
    pub fn service(self, unit: &str) -> Self {
        let path = format!("/usr/lib/systemd/system/{}.service", self.name);
        self.file(&path, unit)
    }

    /// Shell lines that run before the files are unpacked.
    pub fn preinst(self, script: &str) -> Self {
        self.script("preinst", script)
    }

    /// Shell lines that run when the files are in place.
    pub fn postinst(self, script: &str) -> Self {
        self.script("postinst", script)
    }

    /// Shell lines that run before the files are removed or replaced.
    pub fn prerm(self, script: &str) -> Self {
        self.script("prerm", script)
    }

    /// The postinst is called with `triggered` when another package changes a file below this directory: dpkg's
    /// trigger (deb-triggers(5)), rpm's `%transfiletriggerin`, a hook of pacman's (alpm-hooks(5)).
    pub fn watches(mut self, directory: &str) -> Self {
        self.triggers.push(directory.to_owned());
        self
    }

    /// The lines of the postinst.
    pub(crate) fn configuring(&self) -> &str {
        let mut scripts = self.scripts.iter();
        let postinst = scripts.find(|(name, _)| *name == "postinst");
        postinst.map_or("", |(_, lines)| lines)
    }

    /// Shell lines that run when the files have been removed or replaced.
    pub fn postrm(self, script: &str) -> Self {
        self.script("postrm", script)
    }

    /// The finished package file.
    #[track_caller]
    pub fn build(&self) -> PathBuf {
        self.try_build()
            .unwrap_or_else(|error| panic!("failed to build {self:?}: {error:#}"))
    }

    /// The same as an rpm file. Scripts are called with dpkg's words there, too.
    #[track_caller]
    pub fn build_rpm(&self) -> PathBuf {
        rpm::build(self)
            .unwrap_or_else(|error| panic!("failed to build {self:?} as an rpm: {error:#}"))
    }

    /// The same as a package file of pacman's. Scripts are called with dpkg's words there, too.
    #[track_caller]
    pub fn build_pkg(&self) -> PathBuf {
        pkg::build(self)
            .unwrap_or_else(|error| panic!("failed to build {self:?} for pacman: {error:#}"))
    }

    /// The same for the stand-in for apk, which runs the postinst alone.
    #[track_caller]
    pub fn build_apk(&self) -> PathBuf {
        apk::build(self)
            .unwrap_or_else(|error| panic!("failed to build {self:?} for apk: {error:#}"))
    }

    fn try_build(&self) -> Result<PathBuf> {
        let file = format!(
            "{}_{}_{}.deb",
            self.name,
            without_epoch(&self.version),
            self.architecture
        );
        let key = cache::key([format!("{self:?}")]);
        let directory = cache::build_once("debs", &key, |partial| {
            let tree = partial.join("tree");
            self.lay_out(&tree)?;
            pack(&tree, &partial.join(&file))
        })?;
        Ok(directory.join(file))
    }

    fn lay_out(&self, tree: &Path) -> Result<()> {
        put(tree, "DEBIAN/control", self.control().as_bytes(), 0o644)?;
        if !self.conffiles.is_empty() {
            put(
                tree,
                "DEBIAN/conffiles",
                (self.conffiles.join("\n") + "\n").as_bytes(),
                0o644,
            )?;
        }
        if !self.triggers.is_empty() {
            let line = |path: &String| format!("interest-noawait {path}\n");
            let lines: String = self.triggers.iter().map(line).collect();
            put(tree, "DEBIAN/triggers", lines.as_bytes(), 0o644)?;
        }
        for (name, lines) in &self.scripts {
            put(
                tree,
                &format!("DEBIAN/{name}"),
                format!("#!/bin/sh\nset -e\n{lines}\n").as_bytes(),
                0o755,
            )?;
        }
        self.lay_out_files(tree)
    }

    pub(crate) fn lay_out_files(&self, tree: &Path) -> Result<()> {
        for (path, content, mode) in &self.files {
            put(tree, path.trim_start_matches('/'), content, *mode)?;
        }
        Ok(())
    }

    fn control(&self) -> String {
        let Self {
            name,
            version,
            architecture,
            ..
        } = self;
        let mut control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: Lab <lab@example.org>\nDescription: {name} {version} of the lab\n"
        );
        for (name, value) in &self.fields {
            control.extend([name, ": ", value, "\n"]);
        }
        control
    }

    fn file_with_mode(mut self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        self.files
            .push((path.to_owned(), content.as_ref().to_vec(), mode));
        self
    }

    fn script(mut self, name: &'static str, lines: &str) -> Self {
        self.scripts.push((name, lines.to_owned()));
        self
    }
}

/// A package file that is taken apart and put together again with something changed.
#[derive(Clone, Debug)]
#[must_use]
pub struct Repack {
    deb: PathBuf,
    version: Option<String>,
    scripts: Vec<(&'static str, String)>,
    files: Vec<(String, Vec<u8>, u32)>,
    moved: Vec<(String, String)>,
}

impl Repack {
    /// Of this package.
    pub fn of(deb: &Path) -> Self {
        Self {
            deb: deb.to_owned(),
            version: None,
            scripts: Vec::new(),
            files: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Another version, in the control file alone.
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// One more file, or another one in its place.
    pub fn file(mut self, path: &str, content: &str) -> Self {
        self.files
            .push((path.to_owned(), content.as_bytes().to_vec(), 0o644));
        self
    }

    /// One more program, or another one in its place.
    pub fn program(mut self, path: &str, content: &str) -> Self {
        self.files
            .push((path.to_owned(), content.as_bytes().to_vec(), 0o755));
        self
    }

    /// A file that lies elsewhere.
    pub fn moved(mut self, from: &str, to: &str) -> Self {
        self.moved.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Shell lines at the end of the postinst.
    pub fn postinst(self, lines: &str) -> Self {
        self.script("postinst", lines)
    }

    /// Shell lines at the end of the preinst, if there is one.
    pub fn preinst(self, lines: &str) -> Self {
        self.script("preinst", lines)
    }

    fn script(mut self, name: &'static str, lines: &str) -> Self {
        self.scripts.push((name, lines.to_owned()));
        self
    }

    /// The finished package file.
    #[track_caller]
    pub fn build(&self) -> PathBuf {
        self.try_build()
            .unwrap_or_else(|error| panic!("failed to repack {self:?}: {error:#}"))
    }

    fn try_build(&self) -> Result<PathBuf> {
        let bytes = fs::read(&self.deb)
            .with_context(|| format!("failed to read '{}'", self.deb.display()))?;
        let changes = format!(
            "{:?}",
            (&self.version, &self.scripts, &self.files, &self.moved)
        );
        let key = cache::key([&bytes[..], changes.as_bytes()]);
        let directory = cache::build_once("debs", &key, |partial| {
            let tree = partial.join("tree");
            fs::create_dir_all(&tree)?;
            let extract = [
                "--raw-extract".as_ref(),
                self.deb.as_os_str(),
                tree.as_os_str(),
            ];
            machine::run("dpkg-deb", &extract)?;
            self.change(&tree)?;
            pack(&tree, &partial.join("package.deb"))
        })?;
        Ok(directory.join("package.deb"))
    }

    fn change(&self, tree: &Path) -> Result<()> {
        let control = tree.join("DEBIAN/control");
        let text = fs::read_to_string(&control)?;
        let lines = text.lines().map(|line| match &self.version {
            Some(version) if line.starts_with("Version: ") => format!("Version: {version}\n"),
            _ => format!("{line}\n"),
        });
        fs::write(&control, lines.collect::<String>())?;
        for (from, to) in &self.moved {
            let (from, to) = (below(tree, from), below(tree, to));
            fs::create_dir_all(to.parent().context("no parent")?)?;
            fs::rename(&from, &to)
                .with_context(|| format!("failed to move '{}'", from.display()))?;
        }
        for (path, content, mode) in &self.files {
            put(tree, path.trim_start_matches('/'), content, *mode)?;
        }
        for (name, lines) in &self.scripts {
            let script = format!("DEBIAN/{name}");
            let former = fs::read_to_string(tree.join(&script));
            let former = former.unwrap_or_else(|_| "#!/bin/sh\nset -e\n".to_owned());
            put(
                tree,
                &script,
                format!("{former}\n{lines}\n").as_bytes(),
                0o755,
            )?;
        }
        Ok(())
    }
}

fn below(tree: &Path, path: &str) -> PathBuf {
    tree.join(path.trim_start_matches('/'))
}

/// The same package under another version: how our own package is upgraded in a test.
#[track_caller]
pub fn with_version(deb: &Path, version: &str) -> PathBuf {
    Repack::of(deb).version(version).build()
}

/// The control file of a package.
pub(crate) fn control(deb: &Path) -> Result<String> {
    machine::run("dpkg-deb", &["--field".as_ref(), deb.as_os_str()])
}

/// A field of a control file that stands on one line, as all do in a package but its description.
pub(crate) fn field<'a>(control: &'a str, name: &str) -> Option<&'a str> {
    control
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

fn put(tree: &Path, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let path = tree.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("failed to create '{}'", parent.display()))?;
    }
    fs::write(&path, content).with_context(|| format!("failed to write '{}'", path.display()))?;
    Ok(fs::set_permissions(&path, Permissions::from_mode(mode))?)
}

/// Fast rather than small: these packages never travel.
fn pack(tree: &Path, file: &Path) -> Result<()> {
    let options = ["--build", "--root-owner-group", "-Znone"].map(AsRef::as_ref);
    machine::run(
        "dpkg-deb",
        &[&options[..], &[tree.as_os_str(), file.as_os_str()]].concat(),
    )?;
    cache::remove(tree)
}

/// File names in a pool have no epoch: a colon is not for them.
fn without_epoch(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}
