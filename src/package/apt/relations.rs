//! The relations of installed packages: which replace files of which, and which depend on which.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::dpkg;
use crate::exec::ExitReason;
use crate::package::PackageId;

/// An installed package, with what it says of others (deb-control(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub key: PackageId,
    pub version: String,
    pub replaces: Vec<Relation>,
    pub provides: Vec<Relation>,
    /// One of each group is needed.
    pub depends: Vec<Vec<Relation>>,
    /// What it does not allow beside it: its `Breaks` and its `Conflicts`.
    pub excludes: Vec<Relation>,
}

/// A name, and between which versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    /// The sign and the version, such as `>=` and `1.1`.
    pub version: Option<(String, String)>,
}

/// Compares versions as dpkg does: one, the sign, the other.
pub type Compare<'a> = &'a dyn Fn(&str, &str, &str) -> Result<bool>;

impl Relation {
    /// Whether a version is meant.
    pub fn covers(&self, version: &str, compare: Compare<'_>) -> Result<bool> {
        match &self.version {
            None => Ok(true),
            Some((sign, other)) => compare(version, sign, other),
        }
    }
}

/// Every installed package.
pub fn read() -> Result<Vec<Package>> {
    parse(&dpkg::query_relations().output_checked()?)
}

/// What the package in a file says of others.
pub fn of_file(file: &Path) -> Result<Package> {
    let packages = parse(&dpkg::file_relations(file).output_checked()?)?;
    let package = packages.into_iter().next();
    package.with_context(|| format!("dpkg-deb said nothing of '{}'", file.display()))
}

/// Asks dpkg.
pub fn compare(one: &str, sign: &str, other: &str) -> Result<bool> {
    let program = dpkg::compare(one, sign, other);
    let (finished, _) = program.output()?;
    match finished.exit_reason {
        ExitReason::Exited(0) => Ok(true),
        ExitReason::Exited(1) => Ok(false),
        _ => bail!("{}", program.failure(&finished)),
    }
}

/// Parses the output of [`dpkg::query_relations`].
fn parse(output: &str) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for line in output.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [
            state,
            package,
            architecture,
            version,
            replaces,
            provides,
            depends,
            excludes,
        ] = fields[..]
        else {
            bail!("dpkg-query printed an unexpected line: '{line}'");
        };
        if matches!(state, "not-installed" | "config-files") {
            continue;
        }
        packages.push(Package {
            key: PackageId::new(package, architecture),
            version: version.to_owned(),
            replaces: groups(replaces).into_iter().flatten().collect(),
            provides: groups(provides).into_iter().flatten().collect(),
            depends: groups(depends),
            excludes: groups(excludes).into_iter().flatten().collect(),
        });
    }
    Ok(packages)
}

/// `a (>= 1) | b:any, c`
fn groups(field: &str) -> Vec<Vec<Relation>> {
    let group = |group: &str| -> Vec<Relation> {
        let relations = group.split('|').map(str::trim);
        relations.filter(|r| !r.is_empty()).map(relation).collect()
    };
    let groups = field.split(',').map(group);
    groups.filter(|group| !group.is_empty()).collect()
}

fn relation(text: &str) -> Relation {
    let (name, rest) = text.split_once('(').unwrap_or((text, ""));
    let name = name.trim();
    let name = name.split(':').next().unwrap_or(name).to_owned();
    let rest = rest.trim_end().trim_end_matches(')').trim();
    let sign = rest.len() - rest.trim_start_matches(['<', '>', '=']).len();
    let (sign, version) = rest.split_at(sign);
    let version = (!sign.is_empty()).then(|| (sign.to_owned(), version.trim().to_owned()));
    Relation { name, version }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines() {
        let output = "installed\tlib-n-data\tall\t1.1\tlib-n (<< 1.1)\t\t, lib-n (>= 1.1) | lib-o:any, c\t\
            lib-n (<< 1.1), d\nconfig-files\tgone\tall\t1\t\t\t, \t, \n\
            installed\tp\tamd64\t2\t\tvirtual (= 2), v\t, \t, \n";
        let packages = parse(output).unwrap();
        assert_eq!(packages.len(), 2);
        let relation = |name: &str, version: Option<(&str, &str)>| Relation {
            name: name.into(),
            version: version.map(|(sign, version)| (sign.into(), version.into())),
        };
        assert_eq!(
            packages[0].replaces,
            [relation("lib-n", Some(("<<", "1.1")))]
        );
        let either = [
            relation("lib-n", Some((">=", "1.1"))),
            relation("lib-o", None),
        ];
        assert_eq!(
            packages[0].depends,
            [either.to_vec(), vec![relation("c", None)]]
        );
        let excluded = [relation("lib-n", Some(("<<", "1.1"))), relation("d", None)];
        assert_eq!(packages[0].excludes, excluded);
        let virtuals = [relation("virtual", Some(("=", "2"))), relation("v", None)];
        assert_eq!(packages[1].provides, virtuals);
        assert!(packages[1].depends.is_empty() && packages[1].excludes.is_empty());
        assert!(parse("torn\n").is_err());
    }
}
