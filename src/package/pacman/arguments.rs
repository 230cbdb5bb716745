//! The command lines given to pacman: pure builders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::exec::Program;

/// What `-p` prints of each package: repository, name, version, architecture, file, and how many bytes of that are
/// not in its cache yet.
const FORMAT: &str = "%r\t%n\t%v\t%a\t%f\t%s";

/// Shows the configuration, with every `Include` followed.
pub fn configuration() -> Program {
    Program::new("/usr/bin/pacman-conf")
}

/// Fetches the databases of all repositories into a private tree: `-Sy` on the live ones would leave them ahead of what
/// is installed, and every later `-S` would be a partial upgrade (checkupdates(8)). When all went well, each is listed,
/// too, as by [`list`].
pub fn refresh(tree: &Path) -> Program {
    pacman("-Syl", tree)
        .args(["--noconfirm", "--noprogressbar"])
        .die_with_parent()
}

/// Lists every package of every repository: the one way to have each database read to its end.
pub fn list(tree: &Path) -> Program {
    pacman("-Sl", tree)
}

/// Lists installed packages with a newer version, those that are ignored, too; exits with 1 when there
/// is none.
pub fn updates(tree: &Path) -> Program {
    pacman("-Qu", tree)
}

/// Shows what an upgrade would install, and fetches nothing.
pub fn simulate(tree: &Path, without: &[String]) -> Program {
    pacman("-Sup", tree)
        .args(["--noconfirm", "--print-format", FORMAT])
        .args(ignored(without))
}

/// Shows what the repositories say of these packages, named `repository/package`.
pub fn described(tree: &Path, names: &[String]) -> Program {
    pacman("-Si", tree).arg("--").args(names)
}

/// Compares two versions: -1, 0 or 1 (vercmp(8)).
pub fn compare(one: &str, other: &str) -> Program {
    Program::new("/usr/bin/vercmp").args([one, other])
}

/// Fetches what an upgrade would install, at idle priority; the live databases do not move.
pub fn download_ahead(tree: &Path, without: &[String]) -> Program {
    Program::idle("/usr/bin/pacman")
        .args(["-Suw", "--color", "never", "--logfile", "/dev/null"])
        .args(["--noconfirm", "--noprogressbar", "--dbpath"])
        .arg(tree)
        .args(ignored(without))
        .die_with_parent()
}

/// Fetches what is not in the cache, and upgrades everything, by the live databases as they are. Nothing here
/// weakens authentication. `gate` are the words of its gate, by which a run is found that is not through it
/// when its worker has died.
pub fn upgrade(hooks: &[PathBuf], without: &[String], gate: &[String]) -> Program {
    changing("-Su")
        .args(directories(hooks))
        .args(ignored(without))
        .env("LINUX_PATCH_API_GATE", &gate.join(" "))
}

/// Installs package files over whatever version there is, and over these files of others.
pub fn install(files: &[PathBuf], over: &[String], run: RunOptions<'_>) -> Program {
    let over = over
        .iter()
        .map(|path| format!("--overwrite={}", plain(path)));
    let unasked: &[&str] = if run.without_dependencies {
        &["--nodeps", "--nodeps"]
    } else {
        &[]
    };
    changing_by("-U", run)
        .args(unasked)
        .args(over)
        .arg("--")
        .args(files)
}

/// Shows whether these package files could be installed, and changes nothing.
pub fn rehearse(files: &[PathBuf], configuration: Option<&Path>) -> Program {
    Program::new("/usr/bin/pacman")
        .args(["-Up", "--color", "never", "--noconfirm"])
        .args(by(configuration))
        .arg("--")
        .args(files)
}

/// How a run finds its hooks, and a configuration where that of the host cannot be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions<'a> {
    pub hooks: &'a [PathBuf],
    pub configuration: Option<&'a Path>,
    /// Whether dependencies are left out of account.
    pub without_dependencies: bool,
}

/// Compares the files of installed packages with what is entered of them.
pub fn check<S: AsRef<OsStr>>(names: &[S], configuration: Option<&Path>) -> Program {
    Program::new("/usr/bin/pacman")
        .args(["-Qkk", "--color", "never"])
        .args(by(configuration))
        .arg("--")
        .args(names)
}

/// Lists the files of package files, each behind the name of its package.
pub fn contents(files: &[PathBuf], configuration: Option<&Path>) -> Program {
    Program::new("/usr/bin/pacman")
        .args(["-Qlp", "--color", "never"])
        .args(by(configuration))
        .arg("--")
        .args(files)
}

/// Lists the contents of a package file with their sizes, as libarchive's tar does, which pacman needs as well.
pub fn listed(file: &Path) -> Program {
    Program::new("/usr/bin/bsdtar").arg("-tvf").arg(file)
}

fn by(configuration: Option<&Path>) -> Option<String> {
    configuration.map(|file| format!("--config={}", file.display()))
}

/// A pattern that stands for this path: `--overwrite` takes patterns, several with commas between them.
fn plain(path: &str) -> String {
    let special = |c| matches!(c, '*' | '?' | '[' | ']' | '!' | '\\' | ',');
    path.chars()
        .map(|c| if special(c) { '?' } else { c })
        .collect()
}

/// Installs package files again over what an interrupted run left of them. Files that no package owns
/// any more are in the way then, and pacman had found no other conflict before that run began.
pub fn install_again(files: &[PathBuf]) -> Program {
    changing("-U").args(["--overwrite", "*", "--"]).args(files)
}

/// Installs packages again from their repositories, fetching what is not in the cache or damaged there.
pub fn fetch_again<S: AsRef<OsStr>>(names: &[S]) -> Program {
    changing("-S").args(["--overwrite", "*", "--"]).args(names)
}

/// Marks packages, as `name:architecture`, as being there only because others need them.
pub fn mark_automatic(names: &[String]) -> Program {
    let names = names.iter().filter_map(|name| name.split(':').next());
    Program::new("/usr/bin/pacman")
        .args(["--database", "--asdeps", "--"])
        .args(names)
}

/// Takes packages away that were newly installed.
pub fn remove<S: AsRef<OsStr>>(names: &[S], run: RunOptions<'_>) -> Program {
    changing_by("-R", run).arg("--").args(names)
}

/// A run that changes nothing of the host: without the log, which it has no reason to write to.
fn pacman(operation: &str, tree: &Path) -> Program {
    Program::new("/usr/bin/pacman")
        .args([
            operation,
            "--color",
            "never",
            "--logfile",
            "/dev/null",
            "--dbpath",
        ])
        .arg(tree)
}

/// A run on the live database. Interrupted before its gate it takes its lock away, and what it has fetched of
/// a file; it has nothing to say to TERM, and leaves both behind (FACTS 53).
fn changing(operation: &str) -> Program {
    Program::new("/usr/bin/pacman")
        .args([
            operation,
            "--color",
            "never",
            "--noconfirm",
            "--noprogressbar",
        ])
        .interrupted()
}

fn changing_by(operation: &str, run: RunOptions<'_>) -> Program {
    changing(operation)
        .args(by(run.configuration))
        .args(directories(run.hooks))
}

fn ignored(without: &[String]) -> Vec<String> {
    without
        .iter()
        .map(|name| format!("--ignore={name}"))
        .collect()
}

fn directories(hooks: &[PathBuf]) -> Vec<String> {
    let option = |directory: &PathBuf| format!("--hookdir={}", directory.display());
    hooks.iter().map(option).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_databases_are_never_fetched() {
        let tree = Path::new("/t");
        let without = ["x".to_owned()];
        let hooks = [PathBuf::from("/h")];
        assert_eq!(
            refresh(tree).shown(),
            "/usr/bin/pacman -Syl --color never --logfile /dev/null --dbpath /t --noconfirm --noprogressbar"
        );
        assert_eq!(
            upgrade(&hooks, &without, &[]).shown(),
            "/usr/bin/pacman -Su --color never --noconfirm --noprogressbar --hookdir=/h --ignore=x"
        );
        assert_eq!(
            remove(&["a"], RunOptions::default()).shown(),
            "/usr/bin/pacman -R --color never --noconfirm --noprogressbar -- a"
        );
        let run = RunOptions {
            hooks: &hooks,
            configuration: Some(Path::new("/c")),
            without_dependencies: true,
        };
        let over = ["usr/a[1],b".to_owned()];
        assert_eq!(
            install(&[PathBuf::from("/a")], &over, run).shown(),
            "/usr/bin/pacman -U --color never --noconfirm --noprogressbar --config=/c --hookdir=/h \
             --nodeps --nodeps --overwrite=usr/a?1??b -- /a"
        );
    }
}
