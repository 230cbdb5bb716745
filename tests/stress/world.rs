//! The packages of a run: what each version of each contains, as it is published, and what it was before.

use std::collections::BTreeMap;

use lab::{Deb, fixtures};

use crate::plan::{Bad, Publication};

/// How many files of a pair may be in either of its packages.
pub const MOVABLE: usize = 3;

/// What a family of packages is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One package with a file.
    Plain,
    /// One package with a configuration file.
    Conffile,
    /// One package with a service.
    Service,
    /// A package, and one beside it, `NAME-data`, that a split brings: files move between the two.
    Pair,
}

/// Packages that come out together.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// What its first package depends on.
    pub depends: &'static str,
}

const fn family(name: &'static str, kind: Kind, depends: &'static str) -> Family {
    Family {
        name,
        kind,
        depends,
    }
}

/// Every family.
pub const FAMILIES: [Family; 10] = [
    family("st-base", Kind::Plain, ""),
    family("st-conf", Kind::Conffile, ""),
    family("st-db", Kind::Service, "st-base"),
    family("st-one", Kind::Pair, ""),
    family("st-plain", Kind::Plain, ""),
    family("st-three", Kind::Pair, "st-one"),
    family("st-tool", Kind::Plain, "st-one"),
    family("st-two", Kind::Pair, "st-base"),
    family("st-web", Kind::Service, "st-two"),
    family("st-zero", Kind::Plain, "st-conf"),
];

/// The package whose file a bad version of another one claims.
const VICTIM: &str = "st-base";

/// Where each of a pair's files is, and since which version.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    beside: bool,
    since: u32,
}

/// Everything that was published.
#[derive(Default)]
pub struct World {
    number: u32,
    places: BTreeMap<&'static str, [Place; MOVABLE]>,
    published: BTreeMap<(String, String), Deb>,
    versions: BTreeMap<&'static str, Vec<String>>,
}

impl World {
    /// The first version of everything, which a host has.
    pub fn first(&mut self) -> Vec<Deb> {
        self.all_good()
    }

    /// A good version of everything.
    pub fn all_good(&mut self) -> Vec<Deb> {
        let good = |family| Publication {
            family,
            bad: None,
            moved: None,
        };
        (0..FAMILIES.len())
            .flat_map(|number| self.publish(good(number)))
            .collect()
    }

    /// The packages of a new version.
    pub fn publish(&mut self, publication: Publication) -> Vec<Deb> {
        let family = FAMILIES[publication.family];
        self.number += 1;
        let places = self.places.entry(family.name).or_default();
        if let Some(file) = publication.moved {
            let place = &mut places[file];
            *place = Place {
                beside: !place.beside,
                since: self.number,
            };
        }
        let version = version(self.number);
        let debs = packages(family, &version, *places, publication.bad);
        for deb in &debs {
            let key = (deb.name().to_owned(), version.clone());
            self.published.insert(key, deb.clone());
        }
        self.versions.entry(family.name).or_default().push(version);
        debs
    }

    /// A package in one of its versions.
    pub fn package(&self, name: &str, version: &str) -> Option<&Deb> {
        self.published.get(&(name.to_owned(), version.to_owned()))
    }

    /// The version in which a family came out so many publications ago, or at first.
    pub fn version(&self, name: &str, ago: usize) -> &str {
        let versions = self.versions.get(name).map_or(&[][..], Vec::as_slice);
        let place = versions.len().saturating_sub(ago + 1);
        versions.get(place).map_or("", String::as_str)
    }
}

fn version(number: u32) -> String {
    format!("1.{number}")
}

fn packages(family: Family, version: &str, places: [Place; MOVABLE], bad: Option<Bad>) -> Vec<Deb> {
    let Family {
        name,
        kind,
        depends,
    } = family;
    let first = match (kind, bad) {
        (Kind::Service, Some(Bad::Service)) => fixtures::broken_service(name, version),
        (Kind::Service, _) => fixtures::with_service(name, version),
        (Kind::Conffile, _) => fixtures::with_conffile(name, version),
        _ => fixtures::plain(name, version),
    };
    let mut debs = vec![spoilt(first, bad)];
    let mut needs: Vec<String> = [depends]
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if kind == Kind::Pair {
        let beside = format!("{name}-data");
        // it is there once a file was ever moved, and stays when the last one has left it
        if places.iter().any(|place| place.since > 0) {
            needs.push(format!("{beside} (>= {version})"));
            let data = fixtures::plain(&beside, version);
            debs.push(with_files(data, name, name, places, true));
        }
        let lib = debs.remove(0);
        debs.insert(0, with_files(lib, name, &beside, places, false));
    }
    if !needs.is_empty() {
        let first = debs.remove(0);
        debs.insert(0, first.depends(&needs.join(", ")));
    }
    debs
}

/// Those of a pair's files that are on this side. Where one has come from, the other package has to follow.
fn with_files(deb: Deb, family: &str, other: &str, places: [Place; MOVABLE], beside: bool) -> Deb {
    let text = format!("{} {}\n", deb.name(), deb.version());
    let here = places
        .iter()
        .enumerate()
        .filter(|(_, place)| place.beside == beside);
    let latest = here
        .clone()
        .map(|(_, place)| place.since)
        .max()
        .unwrap_or_default();
    let deb = here.fold(deb, |deb, (file, _)| {
        deb.file(&format!("/usr/share/{family}/part-{file}"), &text)
    });
    if latest == 0 {
        return deb;
    }
    let older = format!("{other} (<< {})", version(latest));
    deb.breaks(&older).field("Replaces", &older)
}

fn spoilt(deb: Deb, bad: Option<Bad>) -> Deb {
    let has_unit = deb.name() != VICTIM;
    match bad {
        None => deb,
        Some(Bad::Preinst) => deb.preinst("echo 'it does not let itself be unpacked' >&2\nexit 1"),
        Some(Bad::Overwrite) if has_unit => {
            deb.file(&format!("/usr/share/{VICTIM}/version"), "stolen\n")
        }
        // `fixtures::broken_service` is bad enough
        Some(Bad::Service)
            if FAMILIES
                .iter()
                .any(|family| family.name == deb.name() && family.kind == Kind::Service) =>
        {
            deb
        }
        Some(_) => deb.postinst("echo 'it cannot be configured' >&2\nexit 1"),
    }
}
