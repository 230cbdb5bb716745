//! Free space: too little of it is found before anything changes, not by dpkg in the middle of its work. What has no
//! room is told from what has.

mod boot;
mod floors;
mod kernels;
mod systems;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use crate::package::{Change, Footprint, PackageManager};
use crate::sorted;
use crate::worker::bookkeeping::intent::NoRoom;
use crate::worker::steps::disk_space::boot::Boot;
use crate::worker::steps::disk_space::floors::{MIB, floors};
use crate::worker::steps::disk_space::systems::{Systems, free};

pub use crate::worker::steps::disk_space::boot::is_named as is_for_boot;
pub use crate::worker::steps::disk_space::kernels::{Room, make_room};

/// Why nothing is left to do.
pub fn sentence(without: &[NoRoom]) -> String {
    let mut each: Vec<String> = without
        .iter()
        .map(|short| format!("{} {}", short.change.package, short.reason))
        .collect();
    each.dedup();
    format!("{}; free space there and try again", each.join("; "))
}

/// An error when not even the least is free.
pub fn check_floors(packages: &dyn PackageManager) -> Result<()> {
    let mut systems: BTreeMap<u64, (&str, u64, u64)> = BTreeMap::new();
    for (path, floor) in floors(&packages.space_needs()) {
        let Some((device, free)) = free(Path::new(path)) else {
            continue;
        };
        systems.entry(device).or_insert((path, 0, free)).1 += floor;
    }
    for (path, floor, free) in systems.values() {
        if floor > free {
            bail!(
                "needs {} on {path}, {} are free; free space there and try again",
                shown(*floor),
                shown(*free)
            );
        }
    }
    Ok(())
}

/// Those of the changes that would not find the room they need, so that the others do: the fewest. An error
/// when there is not even room for what any update writes.
pub fn short(packages: &dyn PackageManager, changes: &[Change]) -> Result<Vec<NoRoom>> {
    check_floors(packages)?;
    let systems = Systems::read(&floors(&packages.space_needs()))?;
    let footprints = packages.footprints(changes)?;
    let boot = Boot::read(packages, changes, &footprints);
    let mut short: BTreeMap<usize, String> = BTreeMap::new();
    for system in systems.all() {
        let images = if systems.has_boot(system) {
            boot.per_change()
        } else {
            vec![0; changes.len()]
        };
        let free = system.free.saturating_sub(system.floor);
        if has_plenty(free, &footprints, &images, systems.has_boot(system)) {
            continue;
        }
        let there = |path: &Path| systems.is_on(path, system);
        let brought = packages.brings(changes, &there)?;
        let new = |index: usize| {
            let own = brought.get(index).copied().flatten();
            // where most of every package lies
            let whole = || there(Path::new("/usr/share")).then(|| footprints[index].new);
            let own = own.or_else(whole).unwrap_or(0);
            own.saturating_add(boot.beyond(index, own, images[index]))
        };
        let mut needs: Vec<Footprint> = Vec::new();
        for index in 0..changes.len() {
            needs.push(Footprint {
                new: new(index),
                old: 0,
            });
        }
        if peak(&needs) > free {
            for (need, change) in needs.iter_mut().zip(changes) {
                if need.new > 0 {
                    need.old = systems.taken(&packages.files(change)?, system);
                }
            }
        }
        for (index, reason) in lacking(&system.place, system.free, system.floor, &needs) {
            short.entry(index).or_insert(reason);
        }
    }
    let lacks = |(index, reason): (usize, String)| {
        let change = changes.get(index)?.clone();
        Some(NoRoom { change, reason })
    };
    Ok(short.into_iter().filter_map(lacks).collect())
}

/// Whether so much is free that nothing needs to be counted: all new versions would fit though nothing went
/// away, or twice what they take more than the former ones. What a package has on a file system of its own is
/// not known here, so a small one is looked at in any case: pure.
fn has_plenty(free: u64, footprints: &[Footprint], images: &[u64], is_boot: bool) -> bool {
    let images: u64 = images.iter().sum();
    let whole: u64 = footprints.iter().map(|footprint| footprint.new).sum();
    if whole.saturating_add(images) <= free {
        return true;
    }
    let known = footprints.iter().all(|f| f.old > 0 || f.new == 0);
    let estimate = if is_boot {
        images.saturating_add(32 * MIB)
    } else if known {
        peak(footprints).saturating_add(32 * MIB)
    } else {
        return false;
    };
    estimate.saturating_mul(2) <= free
}

/// The most bytes more than now that these changes need on one file system: each package is unpacked beside what
/// it replaces, which goes then: pure.
fn peak<'a>(needs: impl IntoIterator<Item = &'a Footprint>) -> u64 {
    let (mut growth, mut beside) = (0u64, 0);
    for need in needs {
        growth = growth.saturating_add(need.new.saturating_sub(need.old));
        beside = beside.max(need.new.min(need.old));
    }
    growth.saturating_add(beside)
}

/// Which changes have no room on a file system, with what each needs there: the small ones go first, so that as
/// few as can be stay: pure.
fn lacking(place: &str, free: u64, floor: u64, needs: &[Footprint]) -> Vec<(usize, String)> {
    let needed = |(index, need): (usize, &Footprint)| (need.new > 0).then_some((need.new, index));
    let mut order: Vec<(u64, usize)> = needs.iter().enumerate().filter_map(needed).collect();
    sorted::sort(&mut order);
    let (mut fit, mut lacking): (Vec<&Footprint>, Vec<(usize, String)>) = Default::default();
    for (_, index) in order {
        let need = &needs[index];
        let with = peak(fit.iter().copied().chain([need]));
        if with.saturating_add(floor) <= free {
            fit.push(need);
            continue;
        }
        let others = peak(fit.iter().copied());
        let taken = if others == 0 {
            String::new()
        } else {
            format!(", of which the other updates need {}", shown(others))
        };
        let reason = format!(
            "needs {} on {place}, {} are free{taken}",
            shown(need.new.saturating_add(floor)),
            shown(free)
        );
        lacking.push((index, reason));
    }
    lacking
}

fn shown(bytes: u64) -> String {
    if bytes < 10 * MIB {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(new: u64, old: u64) -> Footprint {
        Footprint {
            new: new * MIB,
            old: old * MIB,
        }
    }

    #[test]
    fn a_package_is_beside_its_former_version_only_while_it_is_unpacked() {
        assert_eq!(peak(&[]), 0);
        assert_eq!(peak(&[need(30, 30), need(20, 20)]), 30 * MIB);
        assert_eq!(peak(&[need(100, 0)]), 100 * MIB);
        assert_eq!(peak(&[need(30, 20), need(100, 0), need(5, 9)]), 130 * MIB);
    }

    #[test]
    fn the_largest_stay_where_not_all_fit() {
        let lacking = |free, floor, needs: &[Footprint]| -> Vec<(usize, String)> {
            lacking("/boot", free * MIB, floor * MIB, needs)
        };
        let needs = [need(120, 0), Footprint::default(), need(8, 8)];
        assert_eq!(lacking(128, 0, &needs), []);
        let short = lacking(40, 0, &needs);
        let why =
            "needs 120 MiB on /boot, 40 MiB are free, of which the other updates need 8192 KiB";
        assert_eq!(short, [(0, why.to_owned())]);
        let short = lacking(40, 16, &needs[..1]);
        assert_eq!(
            short,
            [(0, "needs 136 MiB on /boot, 40 MiB are free".to_owned())]
        );
        assert_eq!(lacking(1, 0, &needs).len(), 2);
    }

    #[test]
    fn what_fits_anyway_is_not_counted() {
        let small = [need(10, 9); 20];
        assert!(has_plenty(200 * MIB, &small, &[], false));
        assert!(has_plenty(130 * MIB, &small, &[], false));
        assert!(!has_plenty(100 * MIB, &small, &[], false));
        assert!(!has_plenty(130 * MIB, &[need(140, 0)], &[], false));
        assert!(has_plenty(180 * MIB, &small, &[50 * MIB], true));
        assert!(!has_plenty(150 * MIB, &small, &[50 * MIB], true));
    }
}
