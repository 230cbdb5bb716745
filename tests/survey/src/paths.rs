//! What a path in a file means: the file that defines the item, through aliases and re-exports.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{File, Sources};
use crate::tokens::Token;

/// A name of the crate itself in the path of `main.rs`.
const CRATE: &str = "linux_patch_api";

/// One path of a `use` declaration, with the name that it brings into scope.
#[derive(Debug)]
pub struct Use {
    pub path: Vec<String>,
    pub name: String,
    pub is_public: bool,
}

/// The paths of one file.
#[derive(Debug, Default)]
pub struct Paths {
    pub uses: Vec<Use>,
    /// What stands outside `use`, from its first segment on.
    pub plain: BTreeSet<Vec<String>>,
    /// Every name that stands outside `use`.
    pub names: BTreeSet<String>,
    scope: BTreeMap<String, Vec<String>>,
}

/// Where a path leads: a file, and the segments of the path that name something in it.
pub type Place = (usize, Vec<String>);

/// Every file's paths, to be resolved.
#[derive(Debug)]
pub struct Resolver<'a> {
    sources: &'a Sources,
    pub files: Vec<Paths>,
}

impl<'a> Resolver<'a> {
    pub fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            files: sources.files.iter().map(paths).collect(),
        }
    }

    /// The place that a path of a file leads to, if it lies in the crate and is more than a local name.
    pub fn resolve(&self, file: usize, path: &[String]) -> Option<Place> {
        self.absolute(file, path, 0)
    }

    fn absolute(&self, file: usize, path: &[String], depth: usize) -> Option<Place> {
        // aliases that name each other
        if depth > 8 {
            return None;
        }
        let own = &self.sources.files[file].module;
        let first = path.first()?;
        let mut child = own.clone();
        child.push(first.clone());
        match first.as_str() {
            "crate" | CRATE => self.walk(Vec::new(), &path[1..], depth),
            "self" => self.walk(own.clone(), &path[1..], depth),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                self.walk(
                    own[..own.len().checked_sub(up)?].to_vec(),
                    &path[up..],
                    depth,
                )
            }
            _ if self.sources.modules.contains_key(&child) => self.walk(child, &path[1..], depth),
            name => {
                let target = self.files[file].scope.get(name)?;
                if target.first() == Some(first) {
                    return None;
                }
                self.absolute(file, &[target, &path[1..]].concat(), depth + 1)
            }
        }
    }

    /// Goes down from a module as far as there are modules, then through what the module has in scope.
    fn walk(&self, mut module: Vec<String>, mut path: &[String], depth: usize) -> Option<Place> {
        while let Some((first, rest)) = path.split_first() {
            module.push(first.clone());
            if !self.sources.modules.contains_key(&module) {
                module.pop();
                break;
            }
            path = rest;
        }
        let file = *self.sources.modules.get(&module)?;
        let exported = path
            .first()
            .filter(|name| self.files[file].scope.contains_key(*name));
        let elsewhere = exported.and_then(|_| self.absolute(file, path, depth + 1));
        Some(elsewhere.unwrap_or((file, path.to_vec())))
    }
}

/// Reads the paths of one file. Inline modules are taken for a part of it: none outside tests says `super`.
fn paths(file: &File) -> Paths {
    let (tokens, mut found) = (file.tokens(), Paths::default());
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text {
            "use" => {
                let length = tokens[at..]
                    .iter()
                    .position(|token| token.text == ";")
                    .unwrap_or(1);
                let tree = &tokens[at + 1..at + length];
                let is_public = at > 0 && matches!(tokens[at - 1].text, "pub" | ")");
                let paths = tree_paths(tree, &[]).into_iter();
                found.uses.extend(paths.map(|(path, name)| Use {
                    path,
                    name,
                    is_public,
                }));
                at += length;
                continue;
            }
            _ if tokens[at].is_name() => {
                let (path, length) = plain(&tokens[at..]);
                let follows = at > 0 && matches!(tokens[at - 1].text, "." | "::");
                if length > 1 && !follows {
                    found.plain.insert(path.clone());
                }
                found.names.extend(path);
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    let scope = found
        .uses
        .iter()
        .map(|item| (item.name.clone(), item.path.clone()));
    found.scope = scope.collect();
    found
}

/// `a::b::c` at the start of the tokens, and how many tokens it is.
fn plain(tokens: &[Token<'_>]) -> (Vec<String>, usize) {
    let (mut path, mut at) = (vec![tokens[0].text.to_owned()], 1);
    while tokens.get(at).is_some_and(|token| token.text == "::")
        && tokens.get(at + 1).is_some_and(Token::is_name)
    {
        path.push(tokens[at + 1].text.to_owned());
        at += 2;
    }
    (path, at)
}

/// Every path of `a::{b, c as d, e::{self}}`, with the name it has from then on.
fn tree_paths(tree: &[Token<'_>], prefix: &[String]) -> Vec<(Vec<String>, String)> {
    let (mut found, mut path, mut at) = (Vec::new(), prefix.to_vec(), 0);
    while at < tree.len() {
        match tree[at].text {
            "{" => {
                for part in parts(&tree[at + 1..tree.len() - 1]) {
                    found.extend(tree_paths(part, &path));
                }
                return found;
            }
            "as" => {
                found.push((path, tree[at + 1].text.to_owned()));
                return found;
            }
            "self" if at == 0 && !prefix.is_empty() => {}
            "*" => return found,
            _ if tree[at].is_name() => path.push(tree[at].text.to_owned()),
            _ => {}
        }
        at += 1;
    }
    let name = path.last().cloned();
    found.extend(name.map(|name| (path, name)));
    found
}

/// Splits at the commas that stand in no braces.
fn parts<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house() -> Sources {
        let files = [
            ("lib.rs", "pub mod a; pub mod d;"),
            (
                "a/mod.rs",
                "mod b; mod c; pub use b::{B, inner::{self, Deep as D}}; use crate::d::Hidden; pub trait T {}",
            ),
            ("a/b.rs", "pub struct B;"),
            (
                "a/c.rs",
                "use super::{B, D, Hidden, T, b}; fn f() { b::g(); crate::a::b::h::<u8>(); x.y(); }",
            ),
            ("d.rs", "use crate::a; fn f() { a::B::new() }"),
        ];
        Sources::of(files.map(|(path, text)| (path.into(), text.to_owned())))
    }

    fn leads(file: usize, path: &str) -> Option<(usize, String)> {
        let sources = house();
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        Resolver::new(&sources)
            .resolve(file, &path)
            .map(|(file, rest)| (file, rest.join("::")))
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_the_item() {
        let sources = house();
        let number = |path: &str| {
            sources
                .files
                .iter()
                .position(|file| file.path.as_os_str() == path)
                .unwrap_or(9)
        };
        let (b, c, d, a) = (
            number("a/b.rs"),
            number("a/c.rs"),
            number("d.rs"),
            number("a/mod.rs"),
        );
        let some = |file, rest: &str| Some((file, rest.to_owned()));
        assert_eq!(leads(c, "super::B"), some(b, "B"));
        assert_eq!(leads(c, "super::T"), some(a, "T"));
        assert_eq!(leads(c, "b::g"), some(b, "g"));
        assert_eq!(leads(c, "Hidden"), some(d, "Hidden"));
        assert_eq!(leads(c, "D"), some(b, "inner::Deep"));
        assert_eq!(leads(d, "a::B::new"), some(b, "B::new"));
        assert_eq!(leads(c, "std::fs"), None);
    }

    #[test]
    fn paths_are_read_from_use_and_from_code() {
        let sources = house();
        let resolver = Resolver::new(&sources);
        let of = |path: &str| {
            &resolver.files[sources
                .files
                .iter()
                .position(|file| file.path.as_os_str() == path)
                .unwrap_or(9)]
        };
        let plain: Vec<String> = of("a/c.rs")
            .plain
            .iter()
            .map(|path| path.join("::"))
            .collect();
        assert_eq!(plain, ["b::g", "crate::a::b::h"]);
        let public: Vec<&str> = of("a/mod.rs")
            .uses
            .iter()
            .filter(|item| item.is_public)
            .map(|item| item.name.as_str())
            .collect();
        assert_eq!(public, ["B", "inner", "D"]);
    }
}
