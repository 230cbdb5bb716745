//! The administrator's programs in `verify.d`: found, and looked at for whether they could be run at all.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use crate::host::hook_dir;
use crate::paths::Paths;
use crate::{journal, sorted};

/// The directory, and what lies beside the programs in it.
pub const DIRECTORY: &str = "/etc/linux_patch_api/verify.d";

/// The search path that every program finds in its environment, for what `env` is asked to start.
const SEARCHED: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The most of a script's first line that the kernel reads (`BINPRM_BUF_SIZE`, linux/binfmts.h).
const FIRST_LINE: u64 = 256;

/// One program, or what lies in the place of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checker {
    /// Where it lies.
    pub path: PathBuf,
    /// Its path below `verify.d`.
    pub name: String,
    /// Whether it decides; otherwise it only warns.
    pub required: bool,
    /// Why it cannot be run, with what to do about it.
    pub unusable: Option<String>,
}

/// Every program in `verify.d` and `verify.d/required.d`, which decide, and in `verify.d/wanted.d`, which
/// warn, each directory in the order of its names. A directory that cannot be used stands for its programs.
pub fn find(paths: &Paths) -> Vec<Checker> {
    let top = paths.host(DIRECTORY);
    let mut found = Vec::new();
    for place in [HookPlace::Top, HookPlace::Required, HookPlace::Wanted] {
        let directory = place.below(&top);
        let checker = |path: PathBuf, unusable| Checker {
            name: journal::plain(&path.strip_prefix(&top).unwrap_or(&path).to_string_lossy()),
            path,
            required: place != HookPlace::Wanted,
            unusable,
        };
        let paths = match entries(&directory) {
            Ok(paths) => paths,
            Err(why) => {
                found.push(checker(directory, Some(format!("{why:#}"))));
                continue;
            }
        };
        for path in paths {
            match classify(&path, place) {
                EntryKind::Nothing => {}
                EntryKind::Program => found.push(checker(path, None)),
                EntryKind::Unusable(why) => found.push(checker(path, Some(why))),
            }
        }
    }
    found
}

/// Why nothing may be changed: a program that decides could not be run afterwards. Pure.
pub fn refusal(checkers: &[Checker]) -> Option<String> {
    let unusable = checkers.iter().filter(|checker| checker.required);
    let unusable: Vec<String> = unusable
        .filter_map(|checker| Some(sentence(&checker.path, checker.unusable.as_deref()?)))
        .collect();
    (!unusable.is_empty()).then(|| not_begun(&unusable.join("; ")))
}

/// That the update was not begun, because of what is wrong with a program.
pub fn not_begun(why: &str) -> String {
    format!("nothing was changed, because the result could not be verified: {why}")
}

/// What is wrong with a program, with its path.
pub fn sentence(path: &Path, why: &str) -> String {
    format!("{}: {why}", journal::plain(&path.to_string_lossy()))
}

/// Where a program lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HookPlace {
    Top,
    Required,
    Wanted,
}

impl HookPlace {
    fn below(self, top: &Path) -> PathBuf {
        match self {
            Self::Top => top.to_owned(),
            Self::Required => top.join("required.d"),
            Self::Wanted => top.join("wanted.d"),
        }
    }
}

/// What an entry of a directory is.
#[derive(Debug, PartialEq, Eq)]
enum EntryKind {
    /// Nothing to run: a directory, a text, what an editor or a package manager has left.
    Nothing,
    Program,
    Unusable(String),
}

fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    hook_dir::trusted(directory)?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    sorted::sort(&mut paths);
    Ok(paths)
}

/// Looks at one entry. Outside of `required.d` a file without its run bit is switched off, as with
/// run-parts(8); in there, a check that is required would be skipped in silence.
fn classify(path: &Path, place: HookPlace) -> EntryKind {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if hook_dir::is_left_over(&name) || name.starts_with("README") {
        return EntryKind::Nothing;
    }
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return EntryKind::Nothing,
        Ok(metadata) => metadata,
        Err(error) => {
            let why = format!("it cannot be run: {error}; fix it, or remove it");
            return EntryKind::Unusable(why);
        }
    };
    if metadata.mode() & 0o111 == 0 {
        return match place {
            HookPlace::Required => EntryKind::Unusable(
                "it is not executable; run 'chmod +x' on it, or move it out of required.d"
                    .to_owned(),
            ),
            HookPlace::Top | HookPlace::Wanted => EntryKind::Nothing,
        };
    }
    match fault(path, &name, &metadata) {
        Some(why) => EntryKind::Unusable(why),
        None => EntryKind::Program,
    }
}

/// What keeps an executable file from being run.
fn fault(path: &Path, name: &str, metadata: &fs::Metadata) -> Option<String> {
    if !metadata.is_file() {
        return Some("it is not a regular file; replace it with a program".to_owned());
    }
    if !hook_dir::is_word(name) {
        let allowed = "letters, digits, '_', '-' and '.'";
        return Some(format!(
            "its name has other characters than {allowed}; rename it"
        ));
    }
    if let Err(why) = hook_dir::trusted(path) {
        return Some(format!("{why:#}"));
    }
    let mounted = rustix::fs::statvfs(path).ok();
    if mounted.is_some_and(|file_system| file_system.f_flag.contains(StatVfsMountFlags::NOEXEC)) {
        return Some(
            "it lies on a file system that is mounted noexec; remount that, or move it".to_owned(),
        );
    }
    let missing = interpreter(&first_line(path)?)?;
    Some(format!(
        "it cannot be run: its interpreter {missing} does not exist; install it"
    ))
}

fn first_line(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FIRST_LINE).read_to_end(&mut bytes).ok()?;
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// What a script is run by: the program that its first line names, and the one that env(1) is to look up.
pub fn interpreters(path: &Path) -> Vec<PathBuf> {
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let Some(line) = is_file.then(|| first_line(path)).flatten() else {
        return Vec::new();
    };
    let Some((program, looked_up)) = named(&line) else {
        return Vec::new();
    };
    let found = looked_up.and_then(|name| {
        let mut places = SEARCHED.iter().map(|place| Path::new(place).join(name));
        places.find(|path| path.is_file())
    });
    [Some(PathBuf::from(program)), found]
        .into_iter()
        .flatten()
        .collect()
}

/// The interpreter that a script's first line names, where it is not there.
fn interpreter(line: &str) -> Option<String> {
    let (program, looked_up) = named(line)?;
    let is_there = |path: &Path| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.mode() & 0o111 != 0)
    };
    if !is_there(Path::new(program)) {
        return Some(program.to_owned());
    }
    let name = looked_up?;
    let there = |directory: &&str| is_there(&Path::new(directory).join(name));
    let found = if name.contains('/') {
        is_there(Path::new(name))
    } else {
        SEARCHED.iter().any(there)
    };
    (!found).then(|| name.to_owned())
}

/// What a script's first line starts, execve(2), and the program that env(1) is to look up. Pure.
fn named(line: &str) -> Option<(&str, Option<&str>)> {
    let mut words = line.strip_prefix("#!")?.split_whitespace();
    let program = words.next()?;
    let is_env = Path::new(program)
        .file_name()
        .is_some_and(|name| name == "env");
    let looked_up = is_env
        .then(|| words.find(|word| !word.starts_with('-') && !word.contains('=')))
        .flatten();
    Some((program, looked_up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_could_not_be_run_is_found_before_it_has_to_be() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let top = paths.host(DIRECTORY);
        for (name, text, mode) in [
            ("20-b", "#!/bin/sh\n", 0o755),
            ("10-off", "#!/bin/sh\n", 0o644),
            ("10-b~", "#!/bin/sh\n", 0o755),
            ("30-other", "#!/bin/sh\n", 0o757),
            ("required.d/README.md", "what these are", 0o644),
            ("required.d/10-off", "#!/bin/sh\n", 0o644),
            ("required.d/20 two words", "#!/bin/sh\n", 0o755),
            (
                "required.d/30-snake",
                "#!/usr/bin/env no-such-python\n",
                0o755,
            ),
            ("required.d/40-perl", "#!/nowhere/perl -w\n", 0o755),
            ("required.d/50-good", "#!/usr/bin/env sh\n", 0o755),
            ("required.d/50-good.dpkg-dist", "#!/bin/sh\n", 0o755),
            ("wanted.d/10-off", "#!/bin/sh\n", 0o644),
            ("wanted.d/20-snake", "#!/nowhere/python\n", 0o755),
        ] {
            write(&top.join(name), text, mode);
        }
        symlink("/nowhere/check", top.join("required.d/60-link")).unwrap();
        fs::create_dir(top.join("required.d/70-directory")).unwrap();
        let found = find(&paths);
        let shown: Vec<String> = found
            .iter()
            .map(|checker| {
                let why = checker.unusable.as_deref().unwrap_or("good");
                format!("{} {why}", checker.name)
            })
            .collect();
        let begins = [
            "20-b good",
            "30-other it is not run: users other than root may write to it",
            "required.d/10-off it is not executable; run 'chmod +x'",
            "required.d/20 two words its name has",
            "required.d/30-snake it cannot be run: its interpreter no-such-python",
            "required.d/40-perl it cannot be run: its interpreter /nowhere/perl",
            "required.d/50-good good",
            "required.d/60-link it cannot be run: No such file",
            "wanted.d/20-snake it cannot be run",
        ];
        assert_eq!(shown.len(), begins.len(), "{shown:#?}");
        for (shown, begin) in shown.iter().zip(begins) {
            assert!(shown.starts_with(begin), "{shown}");
        }
        let refused = refusal(&found).unwrap();
        assert!(
            refused.contains("required.d/10-off: it is not executable"),
            "{refused}"
        );
        assert!(!refused.contains("wanted.d"), "it only warns: {refused}");
    }

    #[test]
    fn a_directory_that_others_may_write_to_stands_for_its_programs() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        let required = paths.host(DIRECTORY).join("required.d");
        write(&required.join("a"), "#!/bin/sh\n", 0o755);
        fs::set_permissions(&required, PermissionsExt::from_mode(0o777)).unwrap();
        let found = find(&paths);
        assert_eq!(found.len(), 1);
        assert!(
            refusal(&found)
                .unwrap()
                .contains("required.d: it is not run")
        );
        assert!(find(&Paths::below("/nowhere")).is_empty());
        assert_eq!(refusal(&[]), None);
    }

    #[test]
    fn first_lines_are_read_as_the_kernel_does() {
        for (line, is) in [
            ("#!/bin/sh -e", Some(("/bin/sh", None))),
            (
                "#! /usr/bin/env python3",
                Some(("/usr/bin/env", Some("python3"))),
            ),
            (
                "#!/usr/bin/env -S A=1 perl -w",
                Some(("/usr/bin/env", Some("perl"))),
            ),
            ("#!/usr/bin/env", Some(("/usr/bin/env", None))),
            ("#!", None),
            ("\u{7f}ELF", None),
        ] {
            assert_eq!(named(line), is, "{line}");
        }
    }
}
