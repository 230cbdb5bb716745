//! The files of a crate and the modules they are, without their tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tokens::{self, Token};

/// One file of the crate.
#[derive(Debug)]
pub struct File {
    /// Its path below the directory of the sources.
    pub path: PathBuf,
    /// Its module, from the root of the crate.
    pub(crate) module: Vec<String>,
    /// All its text.
    pub text: String,
}

impl File {
    /// The tokens of what is compiled outside tests.
    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        without_tests(&tokens::tokens(&self.text))
    }
}

/// All files of the crate.
#[derive(Debug)]
pub struct Sources {
    /// In the order of their paths.
    pub files: Vec<File>,
    pub(crate) modules: BTreeMap<Vec<String>, usize>,
}

impl Sources {
    /// Reads every Rust file below a directory.
    pub fn read(directory: &Path) -> Self {
        let mut paths = Vec::new();
        collect(directory, &mut paths);
        paths.sort();
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (
                path.strip_prefix(directory).unwrap_or(&path).to_owned(),
                text,
            )
        };
        Self::of(paths.into_iter().map(read))
    }

    /// The files of these paths and texts.
    pub fn of(texts: impl IntoIterator<Item = (PathBuf, String)>) -> Self {
        let file = |(path, text): (PathBuf, String)| File {
            module: module(&path),
            path,
            text,
        };
        let files: Vec<File> = texts.into_iter().map(file).collect();
        // `main.rs` is the root of a crate of its own: nothing can import it
        let modules = files
            .iter()
            .enumerate()
            .filter(|(_, file)| file.path != Path::new("main.rs"));
        let modules = modules
            .map(|(number, file)| (file.module.clone(), number))
            .collect();
        Self { files, modules }
    }
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn module(path: &Path) -> Vec<String> {
    let mut module: Vec<String> = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || module.len() == 1 && (last == "lib" || last == "main"))
    {
        module.pop();
    }
    module
}

/// The tokens without the items that are compiled for tests only.
fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if is_for_tests(&tokens[at..]) {
            at += item(&tokens[at..]);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

fn is_for_tests(tokens: &[Token<'_>]) -> bool {
    let starts = |with: &[&str]| {
        tokens.len() >= with.len()
            && tokens
                .iter()
                .zip(with)
                .all(|(token, with)| token.text == *with)
    };
    starts(&["#", "[", "cfg", "(", "test", ")", "]"])
        || starts(&["#", "[", "cfg", "(", "any", "(", "test", ","])
}

/// How many tokens an item has, with its attributes.
fn item(tokens: &[Token<'_>]) -> usize {
    let (mut depth, mut ends_with_brace, mut seen_name) = (0, true, false);
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 && ends_with_brace {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            text if depth == 0 && !seen_name && token.is_name() && text != "pub" => {
                seen_name = true;
                ends_with_brace = !["use", "const", "static", "let"].contains(&text);
            }
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_left_out() {
        let text = "a;\n#[cfg(test)]\nuse b::{c, d};\n#[cfg(test)]\n#[path = \"x\"]\nmod tests { fn e() {} }\nf";
        let kept: Vec<&str> = without_tests(&tokens::tokens(text))
            .iter()
            .map(|token| token.text)
            .collect();
        assert_eq!(kept, ["a", ";", "f"]);
    }

    #[test]
    fn a_file_is_the_module_of_its_path() {
        let of = |path| module(Path::new(path)).join("::");
        assert_eq!(
            [of("lib.rs"), of("a.rs"), of("a/mod.rs"), of("a/b.rs")],
            ["", "a", "a", "a::b"]
        );
    }
}
