//! Which function calls which, by name.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::Sources;
use crate::functions::{self, Function};
use crate::imports::imports;
use crate::paths::{Place, Resolver};
use crate::tokens::Token;

/// A function: the number of its file, and of itself within the file.
pub type Id = (usize, usize);

/// The functions of a crate and the calls between them.
///
/// A call with a path, or of an imported name, leads to the file that defines it. A method call leads to the only
/// method of that name among the caller's own file and the files that it imports; where these have none, to the only
/// one in the crate. Where more than one method comes into question, or a trait declares one without a body, or the
/// standard library has the name, too, the call is not followed: neither is one through a trait object into a backend.
#[derive(Debug)]
pub struct Calls {
    pub(crate) functions: Vec<Vec<Function>>,
    pub(crate) calls: BTreeMap<Id, BTreeSet<Id>>,
}

/// Names of methods that the standard library has as well.
const OF_THE_STANDARD_LIBRARY: &str = "all and any append as_mut as_ref as_str bytes chain clear clone collect contains \
    drain drop end entry eq err extend filter find first flush fmt get get_mut insert into is_empty iter join keys kill \
    last len lines lock map max min name next ok open parent path pop position push read remove replace retain rev send \
    set skip sort spawn split start starts_with status step sum take then to_owned to_string trim values wait with write zip";

impl Calls {
    /// Reads the functions and their calls.
    pub fn read(sources: &Sources) -> Self {
        let resolver = Resolver::new(sources);
        let tokens: Vec<_> = sources
            .files
            .iter()
            .map(crate::files::File::tokens)
            .collect();
        let functions: Vec<_> = tokens.iter().map(|tokens| functions::of(tokens)).collect();
        let number: BTreeMap<_, _> = sources
            .files
            .iter()
            .enumerate()
            .map(|(number, file)| (file.path.as_path(), number))
            .collect();
        let mut near: Vec<BTreeSet<usize>> = (0..tokens.len())
            .map(|file| BTreeSet::from([file]))
            .collect();
        for import in imports(sources) {
            near[number[import.from.as_path()]].insert(number[import.to.as_path()]);
        }
        let mut methods: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for (file, list) in functions.iter().enumerate() {
            for (place, function) in list
                .iter()
                .enumerate()
                .filter(|(_, function)| function.is_method)
            {
                methods
                    .entry(function.name.clone())
                    .or_default()
                    .push((file, place));
            }
        }
        let declared = tokens.iter().flat_map(|tokens| functions::declared(tokens));
        for name in declared {
            methods.remove(&name);
        }
        let mut reader = Reader {
            resolver,
            functions,
            methods,
            near,
        };
        let mut calls: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        for (file, tokens) in tokens.iter().enumerate() {
            for place in 0..reader.functions[file].len() {
                let body = reader.functions[file][place].body.clone();
                let found = reader.calls(file, &tokens[body]);
                calls.insert((file, place), found);
            }
        }
        Self {
            functions: std::mem::take(&mut reader.functions),
            calls,
        }
    }
}

struct Reader<'a> {
    resolver: Resolver<'a>,
    functions: Vec<Vec<Function>>,
    methods: BTreeMap<String, Vec<Id>>,
    near: Vec<BTreeSet<usize>>,
}

impl Reader<'_> {
    /// Every function that these tokens of a file call.
    fn calls(&self, file: usize, tokens: &[Token<'_>]) -> BTreeSet<Id> {
        let mut found = BTreeSet::new();
        for (at, token) in tokens.iter().enumerate() {
            let is_called = token.is_name() && calls(&tokens[at + 1..]);
            let before = at.checked_sub(1).map(|before| tokens[before].text);
            if is_called && before != Some("fn") {
                found.extend(match before {
                    Some(".") => self.method(file, token.text),
                    _ => self.function(file, &path_before(tokens, at)),
                });
            }
        }
        found
    }

    fn function(&self, file: usize, path: &[String]) -> Option<Id> {
        let name = path.last()?;
        let (file, rest) = match self.resolver.resolve(file, path) {
            Some(place) => place,
            // a path of the standard library or of a dependency
            None if path.len() > 1 && path[0] != "Self" && !self.is_local(file, &path[0]) => {
                return None;
            }
            None => Place::from((file, path.to_vec())),
        };
        let named = self.functions[file]
            .iter()
            .position(|function| function.name == *rest.last().unwrap_or(name));
        named.map(|place| (file, place))
    }

    /// Whether a file that begins a path with this name means a type of its own.
    fn is_local(&self, file: usize, name: &str) -> bool {
        name.starts_with(char::is_uppercase)
            && !self.resolver.files[file]
                .uses
                .iter()
                .any(|item| item.name == name)
    }

    fn method(&self, file: usize, name: &str) -> Option<Id> {
        let all = self.methods.get(name)?;
        let near: Vec<&Id> = all
            .iter()
            .filter(|(other, _)| self.near[file].contains(other))
            .collect();
        let own: Vec<&Id> = all.iter().filter(|(other, _)| *other == file).collect();
        match (own.as_slice(), near.as_slice(), all.as_slice()) {
            ([only], _, _) => Some(**only),
            _ if OF_THE_STANDARD_LIBRARY
                .split_whitespace()
                .any(|known| known == name) =>
            {
                None
            }
            (_, [only], _) => Some(**only),
            (_, [], [only]) => Some(*only),
            _ => None,
        }
    }
}

/// Whether a call's parentheses follow, after `::<…>` if there is one.
fn calls(after: &[Token<'_>]) -> bool {
    match after.first().map(|token| token.text) {
        Some("(") => true,
        Some("::") if after.get(1).is_some_and(|token| token.text == "<") => {
            let mut depth = 0;
            for (at, token) in after.iter().enumerate().skip(1) {
                match token.text {
                    "<" => depth += 1,
                    ">" => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    return after.get(at + 1).is_some_and(|token| token.text == "(");
                }
            }
            false
        }
        _ => false,
    }
}

/// `a::b::c`, read backwards from `c`.
fn path_before(tokens: &[Token<'_>], last: usize) -> Vec<String> {
    let (mut path, mut at) = (vec![tokens[last].text.to_owned()], last);
    while at >= 2 && tokens[at - 1].text == "::" && tokens[at - 2].is_name() {
        at -= 2;
        path.insert(0, tokens[at].text.to_owned());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_followed_by_name() {
        let sources = Sources::of(
            [
                ("a.rs", "use crate::b::{self, B, h}; fn a() { b::f(); h::<u8>(); B::new(); x.only(); x.len(); x.twice(); local() } fn local() {}"),
                ("b.rs", "pub fn f() {} pub fn h<T>() {} impl B { pub fn new() {} pub fn only(&self) {} pub fn len(&self) {} fn twice(&self) {} }"),
                ("c.rs", "impl C { pub fn only(&self) {} fn twice(&self) {} }"),
                ("lib.rs", ""),
            ]
            .map(|(path, text)| (path.into(), text.to_owned())),
        );
        let calls = Calls::read(&sources);
        let names: Vec<&str> = calls.calls[&(0, 0)]
            .iter()
            .map(|(file, place)| calls.functions[*file][*place].name.as_str())
            .collect();
        assert_eq!(names, ["local", "f", "h", "new", "only", "twice"]);
    }
}
