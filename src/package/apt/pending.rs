//! What is pending, and what is kept back and why.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::thread;

use anyhow::{Result, bail};

use super::arguments::{self, SimulatedInstall};
use super::backend::Apt;
use super::explain;
use super::policy::{self, KnownVersion, KnownVersions};
use super::simulate::{self, Listing};
use super::{database, index, names};
use crate::package::{
    Change, Database, KeptBack, KeptBackCause, PackageId, Pending, Source, Update, replaced,
};

/// The most updates that are looked at one by one when they cannot be had together.
pub const ALONE: usize = 32;

/// What an upgrade of everything would do, without what only failed sources have.
pub fn everything(apt: &Apt, failed: &[&Source]) -> Result<Pending> {
    let lists = apt.lists_without(failed)?;
    let host = AptHost::read()?;
    let due = Due::find(&host, &lists)?;
    let mut pending = Pending {
        updates: due.updates,
        kept_back: due.kept_back,
    };
    weigh(&mut pending.updates, due.sizes);
    know(apt, &mut pending.updates, &host.database)?;
    if !failed.is_empty() {
        let all = KnownVersions::ask(&host.names(), &[])?;
        host.mark(&mut pending.updates, &all);
        let program = arguments::simulate_upgrade(&host.frozen(&all), &[]);
        let mut with_failed = simulate::parse(&program.output_checked()?)?.updates;
        host.mark(&mut with_failed, &all);
        let kept_back = only_from_failed(&with_failed, &pending);
        pending.kept_back.extend(kept_back);
    }
    Ok(pending)
}

/// The names with versions that an upgrade of everything has to name, so that it neither stops nor passes over a
/// security update.
pub fn words(lists: &[OsString]) -> Result<Vec<String>> {
    let host = AptHost::read()?;
    if !is_to_be_told(&KnownVersions::ask(&host.names(), lists)?) {
        return Ok(Vec::new());
    }
    Ok(Due::find(&host, lists)?.words)
}

/// Whether an upgrade of everything has to name packages: where a pin would downgrade a package, apt does nothing at
/// all (FACTS 12); and where the newest version of a package cannot be installed, apt does not fall back to the
/// security update below it.
pub fn must_be_told(apt: &Apt, list: Option<&Pending>, failed: &[&Source]) -> Result<bool> {
    let Some(list) = list else {
        let lists = apt.lists_without(failed)?;
        let names = AptHost::read()?.names();
        return Ok(is_to_be_told(&KnownVersions::ask(&names, &lists)?));
    };
    let is_told = |kept: &KeptBack| {
        let mut updates = list.updates.iter();
        kept.cause == Some(KeptBackCause::Pinned)
            || updates.any(|update| is_named(&kept.package, &update.key()))
    };
    Ok(list.kept_back.iter().any(is_told))
}

fn is_to_be_told(versions: &KnownVersions) -> bool {
    let mut versions = versions.iter();
    versions
        .any(|(_, known)| known.would_go_back() || known.security_below(&known.candidate).is_some())
}

/// Whether apt gives a package this name.
fn is_named(name: &str, key: &PackageId) -> bool {
    match name.split_once(':') {
        Some(_) => name == key.to_string(),
        None => name == key.package,
    }
}

/// What is installed, and how apt names it.
struct AptHost {
    database: Database,
    native: String,
}

impl AptHost {
    fn read() -> Result<Self> {
        let database = database::installed()?;
        let native = policy::native(&database);
        Ok(Self { database, native })
    }

    fn names(&self) -> Vec<String> {
        self.database.keys().map(PackageId::to_string).collect()
    }

    fn name(&self, key: &PackageId) -> String {
        policy::name(key, &self.native)
    }

    /// The installed package that apt gives this name.
    fn key(&self, name: &str) -> Option<&PackageId> {
        let mut keys = self.database.keys();
        keys.find(|key| self.name(key) == name)
    }

    fn is_held(&self, name: &str) -> bool {
        let plain = name.split(':').next().unwrap_or(name);
        let mut packages = self.database.iter();
        packages.any(|(key, installed)| key.package == plain && installed.held)
    }

    /// `name:architecture=version`, which apt takes literally.
    fn word(&self, name: &str, version: &str) -> Option<String> {
        Some(format!("{}={version}", self.key(name)?))
    }

    /// The installed versions of packages that a pin would downgrade: a package that is named with its version stays as
    /// it is (FACTS 12).
    fn frozen(&self, versions: &KnownVersions) -> Vec<String> {
        let back = versions.iter().filter(|(_, known)| known.would_go_back());
        back.filter_map(|(name, known)| self.word(name, &known.installed))
            .collect()
    }

    /// What apt would choose in the place of an installed version.
    fn candidates(&self, versions: &KnownVersions) -> Vec<String> {
        let newer = versions.iter().filter(|(_, known)| known.would_go_on());
        newer
            .filter_map(|(name, known)| self.word(name, &known.candidate))
            .collect()
    }

    /// Marks the updates that close what a security update closes.
    fn mark(&self, updates: &mut [Update], versions: &KnownVersions) {
        for update in updates {
            let known = versions.of(&self.name(&update.key()));
            update.security |= known.is_some_and(|known| known.is_security(&update.candidate));
        }
    }
}

/// apt reports an update, but not that the architecture changes, or only the build.
pub fn know(apt: &Apt, updates: &mut [Update], database: &Database) -> Result<()> {
    for update in updates.iter_mut().filter(|u| u.installed.is_some()) {
        if let Some((former, _)) = replaced(database, &update.key()) {
            let former = Some(former.architecture.clone());
            update.former_architecture = former.filter(|f| *f != update.architecture);
        }
    }
    let rebuilt = updates.iter_mut().filter(|update| update.is_rebuilt());
    let mut rebuilt: Vec<&mut Update> = rebuilt.collect();
    let changes: Vec<Change> = rebuilt.iter().map(|u| Change::from(&**u)).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let answer = apt.index.of(&changes)?;
    for (update, change) in rebuilt.iter_mut().zip(&changes) {
        let name = names::new_name(change);
        let now = database
            .get(&update.key())
            .and_then(|now| now.build.as_ref());
        // one without a checksum is the installed one
        let is_it = |record: &&index::IndexRecord| {
            record.sha256.is_some()
                && Some(&record.name) == name.as_ref()
                && Some(&record.build) != now
        };
        update.build = answer.records.iter().find(is_it).map(|r| r.build.clone());
    }
    Ok(())
}

/// What an upgrade of everything would do.
struct Due {
    updates: Vec<Update>,
    kept_back: Vec<KeptBack>,
    words: Vec<String>,
    /// The sizes of package files that are likely to be among the updates.
    sizes: BTreeMap<String, u64>,
}

impl Due {
    fn find(host: &AptHost, lists: &[OsString]) -> Result<Self> {
        let names = host.names();
        let simulate = |words: &[String]| -> Result<Listing> {
            simulate::parse(&arguments::simulate_upgrade(words, lists).output_checked()?)
        };
        let (listing, versions) = thread::scope(|threads| {
            // apt-cache has done both before apt-get has worked out the upgrade
            let versions = threads.spawn(|| -> Result<_> {
                let versions = KnownVersions::ask(&names, lists)?;
                let sizes = index::file_sizes(&host.candidates(&versions));
                Ok((versions, sizes))
            });
            let listing = simulate(&[]);
            let versions = versions.join();
            let versions = versions.unwrap_or_else(|_| bail!("asking for the versions failed"));
            (listing, versions)
        });
        let (mut listing, (versions, sizes)) = (listing?, versions?);
        let mut words = host.frozen(&versions);
        if !words.is_empty() {
            listing = simulate(&words)?;
        }
        let mut kept_back = reasons_of(host, &listing.kept, &versions, lists)?;
        for (name, instead) in instead(host, &kept_back, &versions) {
            let with = [&words[..], std::slice::from_ref(&instead.word)].concat();
            // where that cannot be had either, it stays as it is
            if let Ok(found) = simulate(&with) {
                (words, listing) = (with, found);
                let newest = instead.is_newest;
                let mut kept = kept_back.iter_mut().filter(|kept| kept.package == name);
                kept.by_ref().for_each(|kept| kept.security &= !newest);
            }
        }
        kept_back.extend(pinned(host, &versions, &kept_back));
        host.mark(&mut listing.updates, &versions);
        Ok(Self {
            updates: listing.updates,
            kept_back,
            words,
            sizes,
        })
    }
}

/// Says how large the package files of the updates are, by what is known already and what the index says of the
/// rest: packages that are new, and versions that are not the first choice.
fn weigh(updates: &mut [Update], mut sizes: BTreeMap<String, u64>) {
    let name = |update: &Update| format!("{}={}", update.key(), update.candidate);
    let unknown = updates.iter().map(name).filter(|n| !sizes.contains_key(n));
    let unknown: Vec<String> = unknown.collect();
    sizes.append(&mut index::file_sizes(&unknown));
    for update in updates {
        update.size = sizes.get(&name(update)).copied();
    }
}

/// A security update below a version that cannot be had.
struct Instead {
    word: String,
    /// Whether no newer version is for security.
    is_newest: bool,
}

/// The security updates below what is kept back for another reason than the administrator's will.
fn instead(
    host: &AptHost,
    kept_back: &[KeptBack],
    versions: &KnownVersions,
) -> Vec<(String, Instead)> {
    let cannot = |kept: &&KeptBack| {
        use KeptBackCause::{Dependency, Phased, Removal};
        matches!(kept.cause, Some(Dependency | Phased | Removal))
    };
    let below = |kept: &KeptBack| {
        let known = versions.of(&kept.package)?;
        let below = known.security_below(&known.candidate)?;
        let instead = Instead {
            word: host.word(&kept.package, &below.version)?,
            is_newest: known.security() == Some(below),
        };
        Some((kept.package.clone(), instead))
    };
    kept_back
        .iter()
        .filter(cannot)
        .filter_map(below)
        .take(ALONE)
        .collect()
}

/// What a pin keeps back: packages that it would downgrade, and security updates that it passes over.
fn pinned(host: &AptHost, versions: &KnownVersions, known_already: &[KeptBack]) -> Vec<KeptBack> {
    let reason = |known: &KnownVersion| {
        let KnownVersion {
            installed,
            candidate,
            ..
        } = known;
        if known.would_go_back() {
            let older = format!("a pin prefers {candidate}, which is older than {installed}");
            return Some((older, known.security().is_some()));
        }
        let version = &known.passed_over()?.version;
        let why = format!(
            "{version} is for security, and a pin or APT::Default-Release prefers {candidate}"
        );
        Some((why, true))
    };
    let kept = |(name, known): (&str, &KnownVersion)| {
        let (reason, security) = reason(known)?;
        let again = known_already.iter().any(|kept| kept.package == name);
        let kept = KeptBack::new(name, KeptBackCause::Pinned, reason).marked(security);
        (!again && !host.is_held(name)).then_some(kept)
    };
    versions.iter().filter_map(kept).collect()
}

/// Why each of these is kept back.
pub fn reasons(kept: &[simulate::KeptPackage], lists: &[OsString]) -> Result<Vec<KeptBack>> {
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let host = AptHost::read()?;
    let keys = kept.iter().filter_map(|kept| host.key(&kept.package));
    let names: Vec<String> = keys.map(PackageId::to_string).collect();
    let versions = KnownVersions::ask(&names, lists)?;
    reasons_of(&host, kept, &versions, lists)
}

fn reasons_of(
    host: &AptHost,
    kept: &[simulate::KeptPackage],
    versions: &KnownVersions,
    lists: &[OsString],
) -> Result<Vec<KeptBack>> {
    let asked = |kept: &simulate::KeptPackage| {
        let (key, known) = (host.key(&kept.package)?, versions.of(&kept.package)?);
        (!kept.phased && !host.is_held(&kept.package)).then(|| SimulatedInstall {
            name: kept.package.clone(),
            exact: key.to_string(),
            version: known.candidate.clone(),
        })
    };
    let asked: Vec<SimulatedInstall> = kept.iter().filter_map(asked).collect();
    let explained = explain::explain(asked, lists)?;
    let reason = |kept: &simulate::KeptPackage| {
        let known = versions.of(&kept.package);
        let candidate = known.map_or("", |known| known.candidate.as_str());
        let security = known.is_some_and(|known| known.is_security(candidate));
        let (cause, reason) = if host.is_held(&kept.package) {
            let held = "held by the administrator (apt-mark hold)".to_owned();
            (KeptBackCause::Held, held)
        } else if let Some(explained) = explained.get(&kept.package) {
            explained.clone()
        } else if kept.phased || known.is_some_and(|known| known.is_phased(candidate)) {
            let phased = "its rollout is phased and has not reached this host".to_owned();
            (KeptBackCause::Phased, phased)
        } else {
            let why = "apt's upgrade leaves it as it is, though it could be installed by its name";
            (KeptBackCause::Dependency, why.to_owned())
        };
        KeptBack::new(&kept.package, cause, reason).marked(security)
    };
    Ok(kept.iter().map(reason).collect())
}

/// What would be updated with the failed sources and is not without them.
fn only_from_failed(all: &[Update], good: &Pending) -> Vec<KeptBack> {
    let is_good = |update: &&Update| {
        let mut good = good.updates.iter();
        good.any(|good| good.key() == update.key() && good.candidate == update.candidate)
    };
    all.iter()
        .filter(|update| !is_good(update))
        .map(|update| {
            let version = &update.candidate;
            let reason = format!("{version} comes from a source whose last refresh failed");
            KeptBack::new(&update.package, KeptBackCause::Source, reason).marked(update.security)
        })
        .collect()
}
