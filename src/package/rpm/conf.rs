//! What the administrator has configured of dnf, yum and zypper: settings, and which packages may be there in several
//! versions.

use std::fs;
use std::path::PathBuf;

/// Where dnf 5 reads more of its configuration (dnf5.conf(5), "DROP-IN CONFIGURATION DIRECTORIES").
const DROP_INS: [&str; 2] = ["/etc/dnf/libdnf5.conf.d", "/usr/share/dnf5/libdnf.conf.d"];

/// The words of a setting of dnf's own configuration; none when it is not set.
pub fn of_dnf(setting: &str) -> Vec<String> {
    let drop_ins = DROP_INS.iter().filter_map(|path| fs::read_dir(path).ok());
    let drop_ins = drop_ins.flatten().flatten().map(|entry| entry.path());
    std::iter::once(PathBuf::from("/etc/dnf/dnf.conf"))
        .chain(drop_ins)
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| of_main(&text, &[setting]))
        .collect()
}

/// Whether dnf's own configuration, or yum's, says something of a setting.
pub fn is_set(setting: &str) -> bool {
    let yum = fs::read_to_string("/etc/yum.conf").unwrap_or_default();
    !of_dnf(setting).is_empty() || !of_main(&yum, &[setting]).is_empty()
}

/// Which program installs packages: each has a rule of its own about what may be there in several versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// dnf and yum.
    Dnf,
    /// zypper, by libzypp.
    Zypp,
}

/// What dnf and yum let stand side by side without being told: the defaults of `installonlypkgs` (dnf.conf(5),
/// yum.conf(5)).
const PARALLEL: [&str; 15] = [
    "kernel",
    "kernel-PAE",
    "kernel-PAE-debug",
    "kernel-bigmem",
    "kernel-debug",
    "kernel-devel",
    "kernel-enterprise",
    "kernel-modules",
    "kernel-smp",
    "kernel-source",
    "kernel-unsupported",
    "installonlypkg(kernel)",
    "installonlypkg(kernel-module)",
    "installonlypkg(vm)",
    "multiversion(kernel)",
];

/// Where libzypp reads its configuration: the administrator's file in the place of the distribution's, and what
/// is added to it.
pub const ZYPP_CONF: [&str; 2] = ["/etc/zypp/zypp.conf", "/usr/etc/zypp/zypp.conf"];

pub const ZYPP_DROP_INS: [&str; 2] = ["/usr/etc/zypp/zypp.conf.d", "/etc/zypp/zypp.conf.d"];

/// What may be installed in several versions at once by the rule of any program on this host: where two are
/// there, they need not be halves of an update.
pub fn parallel() -> Vec<String> {
    [Front::Dnf, Front::Zypp].map(parallel_by).concat()
}

/// What a program installs in several versions at once, as names and capabilities. For libzypp that is
/// `multiversion` of zypp.conf, which SUSE's sets for kernels, and of the files in `multiversion.d`: without it
/// zypper replaces a kernel in place.
pub fn parallel_by(front: Front) -> Vec<String> {
    match front {
        Front::Dnf => {
            let yum = fs::read_to_string("/etc/yum.conf").unwrap_or_default();
            let mut patterns: Vec<String> = PARALLEL.iter().map(ToString::to_string).collect();
            patterns.extend(of_dnf("installonlypkgs"));
            patterns.extend(of_main(&yum, &["installonlypkgs"]));
            patterns
        }
        Front::Zypp => {
            let main = ZYPP_CONF
                .iter()
                .find_map(|path| fs::read_to_string(path).ok());
            let drop_ins = ZYPP_DROP_INS.iter().flat_map(|path| texts(path));
            let texts_of_main = main.into_iter().chain(drop_ins);
            let mut patterns: Vec<String> = texts_of_main
                .flat_map(|text| of_main(&text, &["multiversion"]))
                .collect();
            patterns.extend(
                texts("/etc/zypp/multiversion.d")
                    .iter()
                    .flat_map(|text| lines(text)),
            );
            patterns.into_iter().map(capability).collect()
        }
    }
}

/// The contents of the files of a directory.
fn texts(directory: &str) -> Vec<String> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .collect()
}

/// The lines that say something.
fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// `multiversion(kernel)` of `provides:multiversion(kernel)`.
fn capability(pattern: String) -> String {
    match pattern.strip_prefix("provides:") {
        Some(capability) => capability.to_owned(),
        None => pattern,
    }
}

/// The words of settings such as `exclude=a b,c` of the main section, which may go on in lines that are
/// indented.
pub fn of_main(text: &str, settings: &[&str]) -> Vec<String> {
    let mut patterns = Vec::new();
    let (mut in_main, mut in_setting) = (false, false);
    for line in text.lines() {
        let mut value = line;
        if line.starts_with('[') {
            in_main = line.trim() == "[main]";
            in_setting = false;
        } else if line.starts_with('#') {
            continue;
        } else if !line.starts_with([' ', '\t']) {
            let (key, rest) = line.split_once('=').unwrap_or((line, ""));
            in_setting = settings.contains(&key.trim());
            value = rest;
        }
        if in_main && in_setting {
            let words = value
                .split([' ', ',', '\t'])
                .filter(|word| !word.is_empty());
            patterns.extend(words.map(str::to_owned));
        }
    }
    patterns
}
