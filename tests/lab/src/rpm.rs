//! The same made-up packages as rpm files: dpkg's words become a spec, and rpmbuild does the rest.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::deb::Deb;
use crate::{cache, machine};

/// The package file of `package`; equal ones are built only once.
pub(crate) fn build(package: &Deb) -> Result<PathBuf> {
    let key = cache::key([format!("{package:?}")]);
    let directory = cache::build_once("rpms", &key, |partial| {
        let tree = partial.join("tree");
        std::fs::create_dir_all(&tree)
            .with_context(|| format!("failed to create '{}'", tree.display()))?;
        package.lay_out_files(&tree)?;
        let file = partial.join("package.spec");
        std::fs::write(&file, spec(package)?)
            .with_context(|| format!("failed to write '{}'", file.display()))?;
        rpmbuild(&file, &tree, partial)
    })?;
    let mut files = std::fs::read_dir(&directory)?.flatten();
    files
        .find_map(|entry| {
            let path = entry.path();
            (path.extension()? == "rpm").then_some(path)
        })
        .with_context(|| format!("no package in '{}'", directory.display()))
}

fn rpmbuild(spec: &Path, tree: &Path, results: &Path) -> Result<()> {
    let mut command = std::process::Command::new("rpmbuild");
    let top = results.join("top");
    for (name, value) in [
        ("_topdir", top.display().to_string()),
        ("_rpmdir", results.display().to_string()),
        (
            "_build_name_fmt",
            "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm".to_owned(),
        ),
        ("tree", tree.display().to_string()),
    ] {
        command.args(["--define", &format!("{name} {value}")]);
    }
    machine::run_command(command.args(["--quiet", "-bb"]).arg(spec))?;
    cache::remove(&top)?;
    cache::remove(tree)
}

/// Files as they were laid out, nothing stripped, nothing found out by itself.
fn spec(package: &Deb) -> Result<String> {
    let (epoch, version, release) = split(package.version());
    let name = package.name();
    let mut spec = format!(
        "%global __os_install_post %{{nil}}\n%global debug_package %{{nil}}\n\
         Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: {name} {version} of the lab\n\
         License: MIT\nAutoReqProv: no\nBuildArch: {}\n",
        architecture(&package.architecture)
    );
    if let Some(epoch) = epoch {
        let _ = writeln!(spec, "Epoch: {epoch}");
    }
    for (field, value) in &package.fields {
        let _ = writeln!(spec, "{}: {}", tag(field)?, relations(value));
    }
    let _ = writeln!(
        spec,
        "%description\n{name} {version} of the lab\n\n%install\nmkdir -p %{{buildroot}}\n\
         cp -a %{{tree}}/. %{{buildroot}}\n"
    );
    for (script, lines) in &package.scripts {
        let (section, words) = section(script);
        let lines = lines.replace('%', "%%");
        let _ = writeln!(spec, "{section}\n{words}\nset -e\n{lines}\n");
    }
    for directory in &package.triggers {
        let lines = package.configuring().replace('%', "%%");
        let _ = writeln!(
            spec,
            "%transfiletriggerin -- {directory}\nset -- triggered\nset -e\n{lines}\n"
        );
    }
    spec.push_str("%files\n%defattr(-,root,root)\n");
    for (path, ..) in &package.files {
        let config = package.conffiles.contains(path);
        let _ = writeln!(
            spec,
            "{}{path}",
            if config { "%config(noreplace) " } else { "" }
        );
    }
    Ok(spec)
}

/// Epoch, version and release of a version as dpkg writes it; every rpm has a release.
fn split(version: &str) -> (Option<&str>, &str, &str) {
    let (epoch, rest) = version
        .split_once(':')
        .map_or((None, version), |(epoch, rest)| (Some(epoch), rest));
    let (version, release) = rest.split_once('-').unwrap_or((rest, "1"));
    (epoch, version, release)
}

pub(crate) fn architecture(of_dpkg: &str) -> &str {
    match of_dpkg {
        "all" => "noarch",
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

fn tag(field: &str) -> Result<&str> {
    Ok(match field {
        "Depends" => "Requires",
        "Breaks" | "Conflicts" => "Conflicts",
        "Provides" | "Recommends" | "Vendor" => field,
        "Replaces" => "Obsoletes",
        _ => bail!("an rpm has no field {field}"),
    })
}

/// `a (>= 1), b (<< 2)` as rpm writes it: `a >= 1, b < 2`.
fn relations(value: &str) -> String {
    let value = value.replace("<<", "<").replace(">>", ">");
    // the parentheses around a version, not those in a name like `libc.so.6()(64bit)`
    let value = value.replace(" (", " ");
    let parts = value.split(", ").map(|part| {
        let versioned = part.contains(['<', '>', '=']);
        if versioned {
            part.trim_end_matches(')')
        } else {
            part
        }
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Where a script of dpkg's goes, and the lines that turn rpm's count of installed versions into the word
/// dpkg calls it with.
fn section(script: &str) -> (&'static str, &'static str) {
    match script {
        "preinst" => (
            "%pre",
            "if [ $1 -gt 1 ]; then set -- upgrade; else set -- install; fi",
        ),
        "postinst" => ("%post", "set -- configure"),
        "prerm" => (
            "%preun",
            "if [ $1 -gt 0 ]; then set -- upgrade; else set -- remove; fi",
        ),
        _ => (
            "%postun",
            "if [ $1 -gt 0 ]; then set -- upgrade; else set -- remove; fi",
        ),
    }
}

/// What packages of a distribution with rpm find there, besides libraries. The last is the C library's.
pub(crate) const STOOD_IN_FOR: &[&str] = &["/bin/sh", "dbus", "polkit", "rtld(GNU_HASH)"];

/// The package that stands for the Debian below it, of which rpm's own database knows nothing: its systemd, in
/// that version, and these libraries of the tree.
pub(crate) fn stand_in(systemd: &str, libraries: &[PathBuf]) -> Result<PathBuf> {
    let mut provides: Vec<String> = STOOD_IN_FOR.iter().map(ToString::to_string).collect();
    provides.push(format!("systemd = {systemd}"));
    for library in libraries {
        let script = r#"echo "$1" | "$(rpm --eval %_rpmconfigdir)"/elfdeps --provides"#;
        let library = library
            .to_str()
            .context("the path of a library is not UTF-8")?;
        let found = machine::run("sh", &["-c", script, "sh", library])?;
        provides.extend(found.lines().map(str::to_owned));
    }
    build(
        &Deb::new("lab-debian", "1")
            .arch("native")
            .field("Provides", &provides.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::{relations, split};

    #[test]
    fn versions_and_relations_are_translated() {
        assert_eq!(split("1:2.0-3"), (Some("1"), "2.0", "3"));
        assert_eq!(split("2.0"), (None, "2.0", "1"));
        assert_eq!(relations("a (>= 1.0), b (<< 2), c"), "a >= 1.0, b < 2, c");
        assert_eq!(relations("libc.so.6()(64bit), d"), "libc.so.6()(64bit), d");
    }
}
