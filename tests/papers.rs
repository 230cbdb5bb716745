//! Papers against what they speak of: the fault matrix and the stories, the versions that several files name.

// a test panics where something is wrong
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sources::sources;
use survey::{Sources, functions, items};

/// A comment line of this form above a story names the fault that it injects.
const MARK: &str = "// fault: ";

/// Every fault of `tests/FAULTS.md` and the names of the stories in its rows; a row without a fault of its own
/// goes on with that of the row above.
fn faults() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string("tests/FAULTS.md").unwrap();
    let mut faults: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut fault = String::new();
    let rows = text.lines().filter(|line| line.starts_with('|'));
    for row in rows.skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "tests/FAULTS.md: {row}");
        if !cells[0].is_empty() {
            cells[0].clone_into(&mut fault);
        }
        let names = cells[2].split('`').skip(1).step_by(2).map(str::to_owned);
        faults.entry(fault.clone()).or_default().extend(names);
    }
    faults
}

/// Every function of the stories, and the faults that it is marked with.
fn stories() -> BTreeMap<String, BTreeSet<String>> {
    let files = sources("tests/system");
    let mut stories: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let mut marks = BTreeSet::new();
        for line in fs::read_to_string(file).unwrap().lines() {
            let line = line.trim_start();
            if let Some(fault) = line.strip_prefix(MARK) {
                marks.insert(fault.trim().to_owned());
            } else if let Some(name) = line.strip_prefix("fn ").or(line.strip_prefix("pub fn ")) {
                let name = name.split(['(', '<']).next().unwrap().to_owned();
                stories.entry(name).or_default().append(&mut marks);
            }
        }
    }
    stories
}

/// Whether a name of the matrix, which may be cut by `…`, is that of a story.
fn is_named(name: &str, story: &str) -> bool {
    match name.split_once('…') {
        Some((start, end)) => story.starts_with(start) && story.ends_with(end),
        None => name == story,
    }
}

#[test]
fn the_fault_matrix_and_the_stories_name_each_other() {
    let (faults, stories) = (faults(), stories());
    let mut wrong = Vec::new();
    for (fault, names) in &faults {
        for name in names
            .iter()
            .filter(|name| name.contains('_') && !name.contains('/'))
        {
            let mut named = stories.iter().filter(|(story, _)| is_named(name, story));
            if !named.any(|(_, marks)| marks.contains(fault)) {
                wrong.push(format!(
                    "tests/FAULTS.md: no story `{name}` has the line `{MARK}{fault}` above it"
                ));
            }
        }
        let paths = names
            .iter()
            .filter(|name| name.starts_with("tests/") || name.starts_with("src/"));
        let gone = paths.filter(|path| !Path::new(path).exists());
        wrong.extend(gone.map(|path| format!("tests/FAULTS.md: there is no {path}")));
    }
    for (story, marks) in &stories {
        for fault in marks {
            let names = faults.get(fault);
            if !names.is_some_and(|names| names.iter().any(|name| is_named(name, story))) {
                wrong.push(format!(
                    "`{story}` is marked with `{fault}`, and tests/FAULTS.md does not name it there"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        faults.len() > 20 && stories.len() > 300,
        "not all was found"
    );
}

/// Whether a story does what only a fault test does: it kills a process, cuts the power, or forges what is fetched.
fn injects_a_fault(body: &str) -> bool {
    ["KILL", ".power_cut(", "Tamper::", ".sign_by_"]
        .iter()
        .any(|word| body.contains(word))
}

#[test]
fn every_story_that_kills_cuts_or_forges_is_marked_with_its_fault() {
    let mut wrong = Vec::new();
    for file in sources("tests/system") {
        let text = fs::read_to_string(&file).unwrap();
        // a function with what stands above it
        for block in text.split("\n}\n") {
            let is_story = ["#[test]\n", "releases!(", "(backend: Backend) {"]
                .iter()
                .any(|word| block.contains(word));
            if is_story && injects_a_fault(block) && !block.contains(MARK) {
                let name = block.split("fn ").nth(1).unwrap();
                let name = name.split('(').next().unwrap();
                wrong.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "without a line `{MARK}…` above it: {}",
        wrong.join("\n")
    );
}

/// What stands between backticks in a paper.
fn quoted(paper: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(paper).unwrap();
    let code = text.split("```").step_by(2);
    code.flat_map(|text| text.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn papers_name_only_files_and_commands_that_exist() {
    let run = fs::read_to_string("tests/run").unwrap();
    let mut wrong = Vec::new();
    for paper in [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "FACTS.md",
        "SECURITY.md",
        "tests/README.md",
    ] {
        let directory = Path::new(paper).parent().unwrap();
        for name in quoted(paper) {
            let word = name.split(' ').next().unwrap();
            let is_path =
                word.ends_with('/') || [".rs", ".md", ".txt"].iter().any(|end| word.ends_with(end));
            if let Some(command) = name.strip_prefix("tests/run ") {
                let command = command.split(' ').next().unwrap();
                if !run.contains(&format!("#   tests/run {command} ")) {
                    wrong.push(format!("{paper}: tests/run has no command {command}"));
                }
            } else if is_path
                && !word.starts_with(['/', '.'])
                && !Path::new(word).exists()
                && !directory.join(word).exists()
            {
                wrong.push(format!("{paper}: there is no {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_variable_of_the_tests_is_explained() {
    let explained: BTreeSet<String> = quoted("tests/README.md")
        .iter()
        .filter_map(|name| name.split('=').next().map(str::to_owned))
        .collect();
    for file in sources("tests")
        .iter()
        .filter(|file| !file.ends_with("papers.rs"))
    {
        let text = fs::read_to_string(file).unwrap();
        for prefix in ["\"LAB_", "\"STORY_"] {
            for (at, _) in text.match_indices(prefix) {
                let name: String = text[at + 1..]
                    .chars()
                    .take_while(|c| c.is_ascii_uppercase() || *c == '_')
                    .collect();
                assert!(
                    explained.contains(&name),
                    "tests/README.md does not explain {name} of {}",
                    file.display()
                );
            }
        }
    }
    assert!(explained.contains("LAB_CACHE"), "the table was not found");
}

#[test]
fn facts_are_numbered_from_one_on_and_every_citation_is_of_one() {
    let text = fs::read_to_string("FACTS.md").unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.trim_end_matches(" |").split(" | ").collect())
        .filter(|row: &Vec<&str>| row[0] != "no.")
        .collect();
    let mut numbers = BTreeSet::new();
    for row in &rows {
        assert!(
            row.len() == 4 && row.iter().all(|cell| !cell.is_empty()),
            "FACTS.md: {row:?}"
        );
        let number: usize = row[0]
            .parse()
            .unwrap_or_else(|_| panic!("FACTS.md: {row:?}"));
        assert!(
            numbers.insert(number),
            "FACTS.md has two facts with the number {number}"
        );
    }
    let missing = (1..=rows.len()).find(|number| !numbers.contains(number));
    assert_eq!(missing, None, "FACTS.md passes over a number");
    assert!(rows.len() > 40, "the tables were not found");
    for file in sources("src") {
        let text = fs::read_to_string(&file).unwrap();
        for after in text.split("FACTS ").skip(1) {
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            let number = digits.parse().unwrap_or(0);
            assert!(
                numbers.contains(&number),
                "{}: FACTS.md has no fact '{digits}'",
                file.display()
            );
        }
    }
}

#[test]
fn the_map_shows_every_room() {
    let front = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let text = fs::read_to_string("CONTRIBUTING.md").unwrap();
    let map = text.split("```").nth(1).unwrap();
    let words: BTreeSet<&str> = map.split_whitespace().collect();
    let rooms = front
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let missing: Vec<&str> = rooms.clone().filter(|room| !words.contains(room)).collect();
    assert!(
        missing.is_empty(),
        "the map in CONTRIBUTING.md lacks {missing:?}"
    );
    assert!(
        rooms.count() > 10,
        "the table in ARCHITECTURE.md was not found"
    );
}

#[test]
fn the_glossary_has_every_term_once_and_in_order() {
    let text = fs::read_to_string("CONTRIBUTING.md").unwrap();
    let (_, glossary) = text.split_once("## Glossary").unwrap();
    let rows = glossary.lines().filter_map(|line| line.strip_prefix("| "));
    let terms: Vec<&str> = rows
        .skip(1)
        .filter_map(|row| row.split(" | ").next())
        .collect();
    let wrong: Vec<_> = terms.windows(2).filter(|pair| pair[0] >= pair[1]).collect();
    assert!(wrong.is_empty(), "not in order, or there twice: {wrong:?}");
    assert!(terms.len() > 40, "the table was not found");
}

/// What the glossary names in code: a type, or a function or module in lower case; a name in capitals is of systemd.
#[test]
fn every_name_in_the_glossary_is_one_of_the_code() {
    let sources = Sources::read(Path::new("src"));
    let (mut types, mut others) = (BTreeSet::new(), BTreeSet::new());
    for file in &sources.files {
        types.extend(items(file).types);
        others.extend(functions(file).into_iter().map(|function| function.name));
        let path = file.path.with_extension("");
        others.extend(path.iter().map(|part| part.to_string_lossy().into_owned()));
    }
    let text = fs::read_to_string("CONTRIBUTING.md").unwrap();
    let (_, glossary) = text.split_once("## Glossary").unwrap();
    let names = glossary.split('`').skip(1).step_by(2);
    let names: BTreeSet<&str> = names
        .filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        .filter(|name| name.contains(char::is_lowercase))
        .collect();
    let is_known = |name: &str| match name.chars().next() {
        Some(first) if first.is_uppercase() => types.contains(name),
        // the phase before any update
        _ => others.contains(name) || name == "idle",
    };
    let wrong: Vec<_> = names.iter().filter(|name| !is_known(name)).collect();
    assert!(wrong.is_empty(), "not in src: {wrong:?}");
    assert!(names.len() > 15, "the names were not found");
}

#[test]
fn every_paper_asks_for_the_same_rust() {
    let after = |file: &str, before: &str| {
        let text = fs::read_to_string(file).unwrap();
        let (_, rest) = text
            .split_once(before)
            .unwrap_or_else(|| panic!("{file}: no {before}"));
        let version: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        version
    };
    let asked = after("Cargo.toml", "rust-version = \"");
    assert_eq!(after("debian/control", "rustc:native (>= "), asked);
    assert_eq!(
        after("rpm/linux-patch-api.spec", "BuildRequires:  cargo >= "),
        asked
    );
    assert_eq!(
        after("rpm/linux-patch-api.spec", "BuildRequires:  rust >= "),
        asked
    );
}
