//! The database of installed packages: one text file, which remembers what is broken.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::package::{Database, Installed, PackageId, PackageState};

/// What changes whenever the database does, and not when it is only read.
pub const FILES: [&str; 1] = ["/lib/apk/db"];

/// Reads it.
pub fn read(file: &Path) -> Result<Database> {
    let text =
        fs::read_to_string(file).with_context(|| format!("failed to read '{}'", file.display()))?;
    parse(&text)
}

/// Parses it: records of `K:value` lines with an empty line behind each; `f:` lists what is broken of a
/// package (apk's `apk_db_read_fdb`): files, a script, extended attributes.
pub fn parse(text: &str) -> Result<Database> {
    let mut database = Database::new();
    for record in text
        .split("\n\n")
        .filter(|record| !record.trim().is_empty())
    {
        let field = |key: &str| record.lines().find_map(|line| line.strip_prefix(key));
        let (package, version) = (
            field("P:").unwrap_or_default(),
            field("V:").unwrap_or_default(),
        );
        ensure!(
            !package.is_empty() && !version.is_empty(),
            "apk's database has a record without name or version"
        );
        let broken = |mark: char| match mark {
            'f' => Some("with broken files"),
            's' => Some("with a failed script"),
            'x' => Some("with broken extended attributes"),
            _ => None,
        };
        let broken: Vec<&str> = field("f:")
            .unwrap_or_default()
            .chars()
            .filter_map(broken)
            .collect();
        let key = PackageId::new(package, field("A:").unwrap_or("noarch").to_owned());
        let state = if broken.is_empty() {
            PackageState::Good
        } else {
            PackageState::Broken(broken.join(" and "))
        };
        let installed = Installed {
            version: version.to_owned(),
            state,
            held: false,
            ..Installed::default()
        };
        database.insert(key, installed);
    }
    Ok(database)
}

/// The files of a package: `F:` names a directory, and the `R:` behind it the files in there.
pub fn files(text: &str, package: &str) -> Vec<PathBuf> {
    let name = |record: &str| {
        record
            .lines()
            .any(|line| line.strip_prefix("P:") == Some(package))
    };
    let Some(record) = text.split("\n\n").find(|record| name(record)) else {
        return Vec::new();
    };
    let mut directory = PathBuf::from("/");
    let mut files = Vec::new();
    for line in record.lines() {
        match line.split_once(':') {
            Some(("F", path)) => directory = Path::new("/").join(path),
            Some(("R", file)) => files.push(directory.join(file)),
            _ => {}
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_what_is_broken() {
        let text =
            "C:Q1x=\nP:demo\nV:1.0-r0\nA:x86_64\nf:s\nF:usr\nR:demo\n\nP:lib\nV:2-r1\nA:noarch\n\n";
        let database = parse(text).unwrap();
        let shown: Vec<String> = database
            .iter()
            .map(|(key, i)| format!("{key} {} {:?}", i.version, i.state))
            .collect();
        let broken = "demo:x86_64 1.0-r0 Broken(\"with a failed script\")";
        assert_eq!(shown, [broken, "lib:noarch 2-r1 Good"]);
        let of_demo = files(&text.replace("R:demo", "R:demo\nR:more\nF:\nR:top"), "demo");
        let expected = ["/usr/demo", "/usr/more", "/top"].map(PathBuf::from);
        assert_eq!(of_demo, expected);
        assert!(files(text, "lib").is_empty() && files(text, "emo").is_empty());
        assert!(parse("P:demo\n\n").is_err());
        assert!(parse("").unwrap().is_empty());
    }
}
