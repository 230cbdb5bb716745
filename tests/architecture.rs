//! Which room may call which: the code is held to the table of `ARCHITECTURE.md`, the library's front page.

// a test panics where something is wrong
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use sources::sources;
use survey::{Sources, circles, functions, imports};

/// The table of `ARCHITECTURE.md`: each room and the rooms it may call.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let front = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').collect();
        let room = cells.first()?.split('`').next()?.to_owned();
        let callees = cells
            .get(2)?
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        Some((room, callees))
    };
    front.lines().filter_map(row).collect()
}

/// The room a file is in: the first part of its path below `src`.
fn room(path: &Path) -> String {
    let first = path
        .strip_prefix("src")
        .unwrap()
        .components()
        .next()
        .unwrap();
    first
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// Every room that the text names after `crate::`, alone or in braces; tests may name any.
fn callees(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap();
    let mut found = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(group) => found.extend(group_names(group)),
            None => {
                found.insert(identifier(after));
            }
        }
    }
    found
}

/// The names at the first level of `a, b::{c, d}, e}`.
fn group_names(group: &str) -> BTreeSet<String> {
    let (mut depth, mut names, mut start) = (0, BTreeSet::new(), true);
    for (position, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && c.is_alphanumeric() => {
                names.insert(identifier(&group[position..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn every_room_calls_only_whom_it_may() {
    let table = table();
    let files = sources("src");
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for file in files
        .iter()
        .filter(|file| !file.ends_with("lib.rs") && !file.ends_with("main.rs"))
    {
        let room = room(file);
        let allowed = table
            .get(&room)
            .unwrap_or_else(|| panic!("ARCHITECTURE.md does not list {room}"));
        for callee in callees(&fs::read_to_string(file).unwrap()) {
            used.insert((room.clone(), callee.clone()));
            // what is not a room is an item of the front page itself
            if table.contains_key(&callee) && callee != room && !allowed.contains(&callee) {
                wrong.push(format!("{}: {room} calls {callee}", file.display()));
            }
        }
    }
    for (room, allowed) in &table {
        let unused = allowed
            .iter()
            .filter(|callee| !used.contains(&(room.clone(), (*callee).clone())));
        wrong.extend(
            unused
                .map(|callee| format!("ARCHITECTURE.md: {room} may call {callee} and never does")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        table.len() > 10 && files.len() > 20,
        "the table or the sources were not found"
    );
}

#[test]
fn calls_are_found() {
    let text = "use crate::fs::{a, b};\nuse crate::{journal, queue::{x, y}, state};\ncrate::host::z()\n\
        #[cfg(test)]\nuse crate::api;";
    let found: Vec<String> = callees(text).into_iter().collect();
    assert_eq!(found, ["fs", "host", "journal", "queue", "state"]);
}

/// The files of each circle are those of `tests/circles.txt`. A file that belongs to no circle can be read and tested
/// without the files that use it: a change may take files out of that list, and adds none. After a rename or after a
/// circle was opened, `UPDATE_EXPECT=1 cargo test --test architecture` writes the list.
#[test]
fn no_import_circle_of_files_but_those_listed() {
    let imports = imports(&Sources::read(Path::new("src")));
    assert!(imports.len() > 500, "not all imports were found");
    let mut paragraphs = Vec::new();
    for circle in circles(&imports) {
        for import in &imports {
            if circle.contains(&import.from) && circle.contains(&import.to) {
                let names: Vec<_> = import.names.iter().map(String::as_str).collect();
                let (from, to) = (import.from.display(), import.to.display());
                // shown when the lists differ
                println!("{from} imports from {to}: {}", names.join(", "));
            }
        }
        let files: Vec<_> = circle.iter().map(|file| file.to_str().unwrap()).collect();
        paragraphs.push(files.join("\n") + "\n");
    }
    expect_file!["circles.txt"].assert_eq(&paragraphs.join("\n"));
}

/// The floors of the worker from above, as `src/worker/mod.rs` lists them, each with its modules.
fn floors() -> Vec<Vec<String>> {
    let front = fs::read_to_string("src/worker/mod.rs").unwrap();
    let row = |line: &str| {
        let cell = line.strip_prefix("//! | `")?.split('|').next()?.to_owned();
        Some(
            cell.split(|c: char| !c.is_alphanumeric() && c != '_')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    };
    front.lines().filter_map(row).collect()
}

#[test]
fn every_floor_of_the_worker_calls_only_the_ones_below() {
    let floors = floors();
    let floor = |path: &Path| {
        let name = path.strip_prefix("worker").ok()?.components().next()?;
        let name = name
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        // the front page declares, and a test reads every floor
        let place = floors.iter().position(|modules| modules.contains(&name));
        assert!(
            place.is_some() || ["mod", "frozen"].contains(&&*name),
            "no floor has {name}"
        );
        place
    };
    let imports = imports(&Sources::read(Path::new("src")));
    let (mut inside, mut wrong) = (0, Vec::new());
    for import in &imports {
        if let (Some(from), Some(to)) = (floor(&import.from), floor(&import.to)) {
            inside += 1;
            if from > to {
                wrong.push(format!(
                    "{} calls {}",
                    import.from.display(),
                    import.to.display()
                ));
            }
        }
    }
    assert!(
        inside > 100 && floors.len() == 7,
        "the floors were not found"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_one_room_starts_programs() {
    let files = sources("src");
    let starts = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        text.split("#[cfg(test)]")
            .next()
            .unwrap()
            .contains("process::{Child, Command")
            || text.contains("Command::new(")
    };
    let starting: BTreeSet<_> = files.iter().filter(|file| starts(file)).collect();
    let rooms = ["parent_guard.rs", "start.rs"].map(|room| Path::new("src/exec").join(room));
    assert_eq!(starting, rooms.iter().collect());
}

#[test]
fn only_one_room_sorts() {
    let files = sources("src");
    let sorts = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        text.contains(".sort(") || text.contains(".sort_")
    };
    let sorting: Vec<_> = files.iter().filter(|file| sorts(file)).collect();
    assert_eq!(sorting, [Path::new("src/sorted.rs")]);
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = sources("src");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//! "),
            "{} has no first sentence",
            file.display()
        );
    }
}

/// Files over the budget of the product, with why.
const LONG_FILES: [(&str, &str); 1] = [(
    "src/api/dbus/agent.rs",
    "zbus wants an interface, 49 members, in one `impl`",
)];

/// The size of a file counts without its unit tests.
#[test]
fn functions_and_files_of_the_product_stay_within_their_budgets() {
    let wrong = over_budget(Path::new("src"), 60, 400);
    let is_known = |line: &&String| !LONG_FILES.iter().any(|(file, _)| line.starts_with(file));
    let new: Vec<_> = wrong.iter().filter(is_known).cloned().collect();
    assert!(new.is_empty(), "{}", new.join("\n"));
    let gone = LONG_FILES.len() + new.len() - wrong.len();
    assert_eq!(gone, 0, "a file of the list is within its budget");
}

/// The tests have wider budgets than the product: a story takes one step after the other.
#[test]
fn functions_and_files_of_the_tests_stay_within_their_budgets() {
    const NAME: usize = 70;
    let (mut wrong, mut read) = (Vec::new(), 0);
    for directory in ["bench", "campaign", "lab", "stress", "survey", "system"] {
        let directory = Path::new("tests").join(directory);
        wrong.extend(over_budget(&directory, 80, 500));
        for file in Sources::read(&directory).files {
            for function in functions(&file) {
                read += 1;
                if function.name.len() > NAME {
                    let (name, letters) = (&function.name, function.name.len());
                    let path = directory.join(&file.path);
                    wrong.push(format!("{}: {name} has {letters} letters", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(read > 1000, "the tests were not found");
}

/// Functions with more lines than `function`, and files that have more than `file` before their unit tests.
fn over_budget(directory: &Path, function: usize, file: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in Sources::read(directory).files {
        let path = directory.join(&source.path);
        let code = source.text.split("#[cfg(test)]\nmod ").next().unwrap();
        let lines = code.lines().count();
        if lines > file {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
        for long in functions(&source).iter().filter(|f| f.lines > function) {
            let (name, lines) = (&long.name, long.lines);
            wrong.push(format!("{}: {name} has {lines} lines", path.display()));
        }
    }
    wrong
}
