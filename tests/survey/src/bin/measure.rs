//! Prints the measures of a checkout's code, outside tests.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use survey::{Calls, Sources, circles, functions, imports, items, journey};

/// Where a reader starts who wants to know what becomes of a thing: the file and the function, by any name they had.
const JOURNEYS: [(&str, &[(&str, &str)]); 3] = [
    (
        "one transaction, from the worker's `attempt`",
        &[("attempt.rs", "attempt")],
    ),
    ("a worker's death, from `recover`", &[("recover.rs", "run")]),
    (
        "a request, from the D-Bus method `Apply`",
        &[("dbus/agent.rs", "apply"), ("dbus/mod.rs", "apply")],
    ),
];

fn main() {
    let checkout = env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let sources = Sources::read(&Path::new(&checkout).join("src"));
    print_sizes(&sources);
    print_names(&sources);
    let imports = imports(&sources);
    let circles = circles(&imports);
    let in_circles: usize = circles.iter().map(std::collections::BTreeSet::len).sum();
    println!("imports between files     {}", imports.len());
    println!(
        "circles                   {} with {in_circles} files",
        circles.len()
    );
    for circle in &circles {
        let first = circle
            .first()
            .map(|file| file.display().to_string())
            .unwrap_or_default();
        println!(
            "                          {} files with {first}",
            circle.len()
        );
    }
    let calls = Calls::read(&sources);
    for (label, starts) in JOURNEYS {
        let found = starts
            .iter()
            .find_map(|(file, name)| journey(&sources, &calls, file, name));
        println!("{label}");
        match found {
            Some(found) => println!(
                "                          calls into {} files itself; {} files in all, {} of them in its room; {} returns, {} climbs",
                found.direct, found.files, found.in_room, found.returns, found.climbs
            ),
            None => println!("                          no such function"),
        }
    }
}

fn print_sizes(sources: &Sources) {
    let lines: usize = sources
        .files
        .iter()
        .map(|file| file.text.lines().count())
        .sum();
    let longest = sources
        .files
        .iter()
        .map(|file| (file.text.lines().count(), file.path.display()))
        .max_by_key(|(lines, _)| *lines);
    let mut lengths: Vec<(usize, String)> = Vec::new();
    for file in &sources.files {
        let names = functions(file).into_iter();
        lengths.extend(names.map(|function| {
            (
                function.lines,
                format!("{} in {}", function.name, file.path.display()),
            )
        }));
    }
    lengths.sort();
    let at = |percent: usize| {
        lengths.get((lengths.len() * percent / 100).min(lengths.len().saturating_sub(1)))
    };
    println!("files                     {}", sources.files.len());
    println!("lines, with tests         {lines}");
    if let Some((lines, path)) = longest {
        println!("longest file              {lines} lines, {path}");
    }
    println!("functions                 {}", lengths.len());
    if let (Some((median, _)), Some((p90, _)), Some((most, name))) =
        (at(50), at(90), lengths.last())
    {
        println!("lines of a function       median {median}, p90 {p90}, max {most} ({name})");
    }
    println!(
        "functions over 60 lines   {}",
        lengths.iter().filter(|(lines, _)| *lines > 60).count()
    );
}

fn print_names(sources: &Sources) {
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    let (mut public, mut restricted) = (0, 0);
    for file in &sources.files {
        let found = items(file);
        public += found.public;
        restricted += found.restricted;
        for name in found.types {
            *types.entry(name).or_default() += 1;
        }
    }
    let mut doubled: Vec<_> = types.iter().filter(|(_, count)| **count > 1).collect();
    doubled.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let shown: Vec<String> = doubled
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    println!("pub items                 {public}, and {restricted} of restricted visibility");
    println!(
        "type names used twice     {} of {}: {}",
        doubled.len(),
        types.len(),
        shown.join(", ")
    );
}
