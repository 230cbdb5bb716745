//! The same made-up packages for pacman: dpkg's words become a PKGBUILD, and makepkg does the rest.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::deb::Deb;
use crate::manager::Manager;
use crate::rpm::architecture as machine_architecture;
use crate::{base, cache, machine};

/// The end of a package file's name.
pub(crate) const SUFFIX: &str = ".pkg.tar.gz";

/// Mounts what is needed where only this shell sees it, and becomes the program there: the tree stays as it is.
const ENTER: &str = r#"tree=$1; work=$2; shift 2
mount --bind "$work" "$tree/mnt"
for directory in dev proc; do mount --rbind "/$directory" "$tree/$directory"; done
exec chroot "$@""#;

/// The package file of `package`; equal ones are built only once.
pub(crate) fn build(package: &Deb) -> Result<PathBuf> {
    let key = cache::key([format!("{package:?}")]);
    let directory = cache::build_once("pkgs", &key, |partial| {
        let tree = partial.join("tree");
        fs::create_dir_all(&tree)
            .with_context(|| format!("failed to create '{}'", tree.display()))?;
        with_hooks(package).lay_out_files(&tree)?;
        fs::write(partial.join("PKGBUILD"), pkgbuild(package)?)?;
        fs::write(partial.join("package.install"), scripts(package))?;
        // makepkg refuses to be root
        machine::run(
            "chown",
            &["-R".as_ref(), "65534:65534".as_ref(), partial.as_os_str()],
        )?;
        let build = "cd /mnt && PKGEXT=.pkg.tar.gz BUILDDIR=/mnt/build makepkg --nodeps --nocheck";
        run_in_tree(partial, &["--userspec=65534:65534"], &["sh", "-c", build])?;
        ["tree", "build", "pkg", "src"]
            .iter()
            .try_for_each(|name| cache::remove(&partial.join(name)))
    })?;
    let mut files = fs::read_dir(&directory)?
        .flatten()
        .map(|entry| entry.path());
    files
        .find(|path| path.to_string_lossy().ends_with(SUFFIX))
        .with_context(|| format!("no package in '{}'", directory.display()))
}

/// The package with a hook for each directory that it watches.
fn with_hooks(package: &Deb) -> Deb {
    let (name, lines) = (package.name(), package.configuring());
    let script = format!("/usr/share/libalpm/scripts/{name}");
    let hooks = package.triggers.iter().enumerate();
    let package = hooks.fold(package.clone(), |package, (number, directory)| {
        let hook = format!(
            "[Trigger]\nOperation = Install\nOperation = Upgrade\nOperation = Remove\nType = Path\n\
             Target = {}/*\n\n[Action]\nDescription = Running {name}...\nWhen = PostTransaction\n\
             Exec = {script}\n",
            directory.trim_start_matches('/'),
        );
        package.file(
            &format!("/usr/share/libalpm/hooks/{name}-{number}.hook"),
            hook,
        )
    });
    if package.triggers.is_empty() {
        package
    } else {
        package.program(
            &script,
            format!("#!/bin/sh\nset -- triggered\nset -e\n{lines}\n"),
        )
    }
}

/// Runs a program of the tree that pacman's hosts are made of, with `work` at `/mnt`.
pub(crate) fn run_in_tree(work: &Path, options: &[&str], arguments: &[&str]) -> Result<String> {
    let packages: Vec<String> = Manager::Pacman
        .packages()
        .iter()
        .map(ToString::to_string)
        .collect();
    let tree = base::tree(Manager::Pacman.release(), &packages)?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-euc", ENTER, "sh"])
        .arg(&tree)
        .arg(work)
        .args(options)
        .arg(&tree)
        .args([
            "env",
            "-i",
            "HOME=/mnt",
            "LC_ALL=C",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        ])
        .args(arguments);
    machine::run_command(&mut command)
}

/// Files as they were laid out, nothing stripped, nothing packed.
fn pkgbuild(package: &Deb) -> Result<String> {
    let (epoch, version, release) = split(package.version());
    let name = package.name();
    let architecture = match package.architecture.as_str() {
        "all" => "any",
        other => machine_architecture(other),
    };
    let mut text = format!(
        "pkgname={name}\npkgver={version}\npkgrel={release}\nepoch={}\n\
         pkgdesc='{name} {version} of the lab'\narch=({architecture})\nlicense=(MIT)\n\
         options=(!strip !zipman !purge !debug emptydirs libtool staticlibs)\n",
        epoch.unwrap_or("0"),
    );
    for (field, value) in &package.fields {
        let name = match field.as_str() {
            "Depends" => "depends",
            "Breaks" | "Conflicts" => "conflicts",
            "Provides" => "provides",
            "Replaces" => "replaces",
            _ => bail!("a package of pacman has no field {field}"),
        };
        let words: Vec<String> = value
            .split(", ")
            .map(|part| format!("'{}'", relation(part)))
            .collect();
        let _ = writeln!(text, "{name}+=({})", words.join(" "));
    }
    for file in &package.conffiles {
        let _ = writeln!(text, "backup+=('{}')", file.trim_start_matches('/'));
    }
    if !package.scripts.is_empty() {
        text.push_str("install=package.install\n");
    }
    text.push_str("package() { cp -a /mnt/tree/. \"$pkgdir\"; }\n");
    Ok(text)
}

/// Scriptlets that call dpkg's, with the words dpkg calls them with.
fn scripts(package: &Deb) -> String {
    let script = |name: &str, words: &str| {
        let found = package.scripts.iter().find(|(script, _)| *script == name);
        found.map_or_else(
            || "true".to_owned(),
            |(_, lines)| format!("( set -e; set -- {words}\n{lines}\n)"),
        )
    };
    let functions = [
        ("pre_install", vec![("preinst", "install")]),
        ("post_install", vec![("postinst", "configure")]),
        (
            "pre_upgrade",
            vec![("prerm", "upgrade"), ("preinst", "upgrade")],
        ),
        (
            "post_upgrade",
            vec![("postrm", "upgrade"), ("postinst", "configure")],
        ),
        ("pre_remove", vec![("prerm", "remove")]),
        ("post_remove", vec![("postrm", "remove")]),
    ];
    let mut text = String::new();
    for (function, calls) in &functions {
        let calls: Vec<String> = calls
            .iter()
            .map(|(name, words)| script(name, words))
            .collect();
        let _ = writeln!(text, "{function}() {{\n{}\n}}", calls.join(" &&\n"));
    }
    text
}

/// Epoch, version and release of a version as dpkg writes it; here every package has a release.
fn split(version: &str) -> (Option<&str>, &str, &str) {
    let (epoch, rest) = version
        .split_once(':')
        .map_or((None, version), |(epoch, rest)| (Some(epoch), rest));
    let (version, release) = rest.split_once('-').unwrap_or((rest, "1"));
    (epoch, version, release)
}

/// `a (>= 1)` as pacman writes it: `a>=1`.
fn relation(part: &str) -> String {
    let part = part.replace("<<", "<").replace(">>", ">");
    part.replace([' ', '(', ')'], "")
}

#[cfg(test)]
mod tests {
    use super::{relation, split};

    #[test]
    fn versions_and_relations_are_translated() {
        assert_eq!(split("1:2.0-3"), (Some("1"), "2.0", "3"));
        assert_eq!(split("2.0"), (None, "2.0", "1"));
        assert_eq!(relation("a (>= 1.0)"), "a>=1.0");
        assert_eq!(relation("b (<< 2)"), "b<2");
    }
}
