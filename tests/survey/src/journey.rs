//! A journey: what a reader goes through who follows one function to its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::calls::{Calls, Id};
use crate::circles::circles;
use crate::files::Sources;
use crate::imports::imports;

/// What is met on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// How many files the start itself calls into.
    pub direct: usize,
    /// How many files are entered from there on, that of the start included.
    pub files: usize,
    /// How many of them lie in the room of the start.
    pub in_room: usize,
    /// How many calls go back: into another file of the same room that is nearer to the start.
    pub returns: usize,
    /// How many calls climb: into another file of the same import circle, which lies above the caller's file as much
    /// as below it. Between files in no circle, the architecture test leaves no way up.
    pub climbs: usize,
}

/// Follows every call from the first function of this name in a file whose path ends so; none when there is none.
pub fn journey(sources: &Sources, calls: &Calls, file: &str, name: &str) -> Option<Journey> {
    let start = sources
        .files
        .iter()
        .enumerate()
        .find_map(|(number, source)| {
            let place = calls.functions[number]
                .iter()
                .position(|function| function.name == name)?;
            source.path.ends_with(file).then_some((number, place))
        })?;
    let reached = reach(calls, start);
    let mut distance: BTreeMap<usize, usize> = BTreeMap::new();
    for ((file, _), steps) in &reached {
        let least = distance.entry(*file).or_insert(*steps);
        *least = (*least).min(*steps);
    }
    let between: Vec<(usize, usize)> = reached
        .keys()
        .flat_map(|from| calls.calls[from].iter().map(move |to| (from.0, to.0)))
        .filter(|(from, to)| from != to)
        .collect();
    let circles = circles(&imports(sources));
    let path = |file: usize| &sources.files[file].path;
    let together = |from, to| {
        circles
            .iter()
            .any(|circle| circle.contains(path(from)) && circle.contains(path(to)))
    };
    let room = |file: usize| sources.files[file].module.first();
    let goes_back = |from, to| room(from) == room(to) && distance[&to] < distance[&from];
    let count = |is: &dyn Fn(usize, usize) -> bool| {
        between.iter().filter(|(from, to)| is(*from, *to)).count()
    };
    let direct: BTreeSet<usize> = calls.calls[&start].iter().map(|(file, _)| *file).collect();
    Some(Journey {
        direct: direct.iter().filter(|file| **file != start.0).count(),
        files: distance.len(),
        in_room: distance
            .keys()
            .filter(|file| room(**file) == room(start.0))
            .count(),
        returns: count(&goes_back),
        climbs: count(&together),
    })
}

/// Every function that is called from the start on, with the least number of calls to it.
fn reach(calls: &Calls, start: Id) -> BTreeMap<Id, usize> {
    let (mut reached, mut waiting) = (BTreeMap::from([(start, 0)]), VecDeque::from([start]));
    while let Some(from) = waiting.pop_front() {
        let steps = reached[&from] + 1;
        for to in &calls.calls[&from] {
            if !reached.contains_key(to) {
                reached.insert(*to, steps);
                waiting.push_back(*to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_back_and_calls_within_a_circle_are_counted() {
        let sources = Sources::of(
            [
                (
                    "w/a.rs",
                    "use crate::w::b; pub fn start() { b::f() } pub fn again() {}",
                ),
                (
                    "w/b.rs",
                    "use crate::{leaf, w::a}; pub fn f() { a::again(); leaf::l() }",
                ),
                ("w/mod.rs", ""),
                ("leaf.rs", "pub fn l() {}"),
                ("lib.rs", ""),
            ]
            .map(|(path, text)| (path.into(), text.to_owned())),
        );
        let found = journey(&sources, &Calls::read(&sources), "a.rs", "start");
        assert_eq!(
            found,
            Some(Journey {
                direct: 1,
                files: 3,
                in_room: 2,
                returns: 1,
                climbs: 2
            })
        );
    }
}
