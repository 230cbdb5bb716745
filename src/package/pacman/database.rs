//! The database of installed packages, one directory for each, as libalpm lays it out (version 9).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::arguments;
use crate::checksum;
use crate::package::{Change, Database, Installed, PackageId, PackageState, Problem, tar};
use crate::sorted::{self, InOrder};

/// What changes whenever the database does, and not when it is only read.
pub const FILES: [&str; 2] = ["/var/lib/pacman", "/var/lib/pacman/local"];

/// What is installed.
pub fn installed() -> Result<Database> {
    read(&Path::new(DATABASE).join("local"))
}

/// pacman's own database.
pub const DATABASE: &str = "/var/lib/pacman";

/// What `local/ALPM_DB_VERSION` says since pacman 4.2; another layout is not guessed at.
const LAYOUT: &str = "9";

/// The fields of one package's `desc` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desc {
    /// `%NAME%`
    pub name: String,
    /// `%VERSION%`
    pub version: String,
    /// `%ARCH%`
    pub architecture: String,
    /// Whether `%REASON%` says that it was installed for another package (1, and 0 for its own sake).
    pub automatic: bool,
    /// `%INSTALLDATE%`, in seconds since 1970.
    pub installed: Option<u64>,
    /// A checksum of what tells builds apart: `%BUILDDATE%`, `%PACKAGER%`, `%SIZE%`.
    pub build: Option<String>,
}

impl Desc {
    /// Parses the file: each field is a line `%FIELD%`, its values in the lines after it, and an empty line.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let field = line.strip_prefix('%').and_then(|l| l.strip_suffix('%'));
            if let (Some(field), Some(value)) = (field, lines.clone().next()) {
                fields.insert(field, value);
            }
        }
        let of = |field: &str| {
            let value = fields.get(field).copied().unwrap_or_default();
            (!value.is_empty()).then(|| value.to_owned())
        };
        Some(Self {
            name: of("NAME")?,
            version: of("VERSION")?,
            architecture: of("ARCH").unwrap_or_else(|| "any".to_owned()),
            automatic: of("REASON").as_deref() == Some("1"),
            installed: of("INSTALLDATE").and_then(|date| date.parse().ok()),
            build: of("BUILDDATE").map(|date| {
                let more = [of("PACKAGER"), of("SIZE")].map(Option::unwrap_or_default);
                checksum::sha256(format!("{date}\n{}", more.join("\n")).as_bytes())
            }),
        })
    }
}

/// Name and version of a directory's name, `name-version-release`; both parts may contain dashes but the
/// last two.
pub fn split(directory: &str) -> Option<(&str, &str)> {
    let (rest, _release) = directory.rsplit_once('-')?;
    let (name, _version) = rest.rsplit_once('-')?;
    let version = directory.get(name.len() + 1..)?;
    (!name.is_empty() && !version.starts_with('-')).then_some((name, version))
}

/// The directories of the packages, sorted.
pub fn directories(local: &Path) -> Result<Vec<PathBuf>> {
    let read = |what: &str| format!("failed to read '{}'{what}", local.display());
    let layout = fs::read_to_string(local.join("ALPM_DB_VERSION")).with_context(|| read(""))?;
    ensure!(
        layout.trim() == LAYOUT,
        "the package database in '{}' has the layout {:?}, and not {LAYOUT}",
        local.display(),
        layout.trim(),
    );
    let mut directories = Vec::new();
    for entry in fs::read_dir(local).with_context(|| read(""))? {
        let entry = entry.with_context(|| read(""))?;
        if entry.file_type().with_context(|| read(""))?.is_dir() {
            directories.push(entry.path());
        }
    }
    sorted::sort(&mut directories);
    Ok(directories)
}

/// The packages that are there for others only, as `name:architecture`.
pub fn automatic(local: &Path) -> Result<BTreeSet<String>> {
    let desc = |directory: &PathBuf| {
        let text = fs::read_to_string(directory.join("desc")).ok()?;
        Desc::parse(&text).filter(|desc| desc.automatic)
    };
    let named = |desc: Desc| format!("{}:{}", desc.name, desc.architecture);
    let directories = directories(local)?;
    let found = directories.iter().filter_map(desc);
    Ok(found.map(named).in_order())
}

/// The whole database.
pub fn read(local: &Path) -> Result<Database> {
    let mut database = Database::new();
    for directory in directories(local)? {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let desc = fs::read_to_string(directory.join("desc")).unwrap_or_default();
        let (key, installed) = match (Desc::parse(&desc), split(&name)) {
            (Some(desc), _) => (
                PackageId::new(desc.name, desc.architecture),
                Installed {
                    version: desc.version,
                    state: PackageState::Good,
                    held: false,
                    build: desc.build,
                },
            ),
            (None, Some((package, version))) => (
                PackageId::new(package, "any"),
                Installed {
                    version: version.to_owned(),
                    state: PackageState::Broken("without its entry in the database".to_owned()),
                    held: false,
                    ..Installed::default()
                },
            ),
            (None, None) => continue,
        };
        let twice = database.contains_key(&key);
        let installed = Installed {
            state: if twice {
                PackageState::Broken("twice in the database".to_owned())
            } else {
                installed.state
            },
            ..installed
        };
        database.insert(key, installed);
    }
    Ok(database)
}

/// What is wrong with it. Only looks whether the files are there: a power cut leaves them
/// empty or away.
pub fn problems(local: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let mut last = String::new();
    for directory in directories(local)? {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let package = split(&name).map_or(name.as_ref(), |(package, _)| package);
        if fs::metadata(directory.join("desc")).map_or(0, |m| m.len()) == 0 {
            let text = format!("{package} has no entry in '{}'", directory.display());
            problems.push(Problem::of(package, text));
        }
        if package == last {
            let text = format!("{package} is twice in the package database");
            problems.push(Problem::of(package, text));
        }
        package.clone_into(&mut last);
    }
    Ok(problems)
}

/// The entry of one package.
pub fn find(local: &Path, package: &str) -> Option<Desc> {
    let directories = directories(local).ok()?;
    let directory = directories.iter().find(|directory| {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        split(&name).is_some_and(|(name, _)| name == package)
    })?;
    Desc::parse(&fs::read_to_string(directory.join("desc")).ok()?)
}

/// The files of the installed version of a change, from `%FILES%` of its entry.
pub fn files(local: &Path, change: &Change) -> Vec<PathBuf> {
    let version = change.from.as_deref().unwrap_or_default();
    let entry = local.join(format!("{}-{version}", change.package));
    let text = fs::read_to_string(entry.join("files")).unwrap_or_default();
    let files = text.lines().skip_while(|line| *line != "%FILES%").skip(1);
    let files = files.take_while(|line| !line.is_empty());
    files.map(|file| Path::new("/").join(file)).collect()
}

/// How many bytes each package file brings `there`. A package file is not opened where the database has no file of
/// the package there.
pub fn brings(
    local: &Path,
    changes: &[Change],
    there: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Option<u64>>> {
    let known = |change: &Change| Some(files(local, change)).filter(|files| !files.is_empty());
    tar::brought(changes, there, known, arguments::listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("ALPM_DB_VERSION"), "9\n").unwrap();
        for (directory, desc) in entries {
            fs::create_dir(root.path().join(directory)).unwrap();
            fs::write(root.path().join(directory).join("desc"), desc).unwrap();
        }
        root
    }

    const DEMO: &str = "%NAME%\ndemo\n\n%VERSION%\n1:1.0-1\n\n%BASE%\ndemo\n\n%URL%\n\n\n%ARCH%\nx86_64\n\n\
        %INSTALLDATE%\n1795240401\n\n%DEPENDS%\nglibc\nbash\n\n";

    #[test]
    fn entries_are_read() {
        let root = database(&[("demo-1:1.0-1", DEMO), ("lib-x++-2-3", "")]);
        let read = read(root.path()).unwrap();
        let shown: Vec<String> = read
            .iter()
            .map(|(k, i)| format!("{k} {}", i.version))
            .collect();
        assert_eq!(shown, ["demo:x86_64 1:1.0-1", "lib-x++:any 2-3"]);
        assert_eq!(
            find(root.path(), "demo").unwrap().installed,
            Some(1_795_240_401)
        );
        let build = |text: &str| Desc::parse(&format!("{DEMO}{text}")).unwrap().build;
        let date = "%BUILDDATE%\n1795240400\n\n";
        assert_eq!(build(""), None);
        assert_eq!(build(date), build(date));
        assert_ne!(build(date), build(&format!("{date}%SIZE%\n1\n\n")));
        let problems = problems(root.path()).unwrap();
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].text.starts_with("lib-x++ has no entry"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_package_that_is_there_twice_is_a_problem() {
        let other = DEMO.replace("1:1.0-1", "1:1.1-1");
        let root = database(&[("demo-1:1.0-1", DEMO), ("demo-1:1.1-1", &other)]);
        assert_eq!(
            problems(root.path()).unwrap(),
            [Problem::of(
                "demo",
                "demo is twice in the package database".into()
            )]
        );
        let read = read(root.path()).unwrap();
        assert!(matches!(
            read.values().next().unwrap().state,
            PackageState::Broken(_)
        ));
    }

    #[test]
    fn another_layout_is_refused() {
        let root = tempfile::tempdir().unwrap();
        assert!(read(root.path()).is_err());
        fs::write(root.path().join("ALPM_DB_VERSION"), "10\n").unwrap();
        let error = read(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("has the layout \"10\", and not 9"),
            "{error}"
        );
    }

    #[test]
    fn names_keep_their_dashes() {
        assert_eq!(
            split("linux-firmware-20250101.abc-1"),
            Some(("linux-firmware", "20250101.abc-1"))
        );
        assert_eq!(split("a-1-2"), Some(("a", "1-2")));
        for wrong in ["", "a", "a-1", "-1-2"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
