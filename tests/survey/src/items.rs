//! The types and the public items of a file.

use crate::files::File;

/// What a file declares outside tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// The names of its types and traits; an associated type is none.
    pub types: Vec<String>,
    /// How many items are `pub`, methods included, fields not.
    pub public: usize,
    /// How many are so within a part of the crate only.
    pub restricted: usize,
}

/// Reads the declarations of a file.
pub fn items(file: &File) -> Items {
    const KINDS: [&str; 11] = [
        "async", "const", "enum", "fn", "mod", "static", "struct", "trait", "type", "union", "use",
    ];
    let (tokens, mut found, mut depth) = (file.tokens(), Items::default(), 0);
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "struct" | "enum" | "trait" | "union" | "type" if depth == 0 => {
                found.types.extend(
                    next.filter(|name| name.is_name())
                        .map(|name| name.text.to_owned()),
                );
            }
            "pub" => {
                let (is_restricted, after) = match next {
                    Some(next) if next.text == "(" => {
                        let close = tokens[at..].iter().position(|token| token.text == ")");
                        (true, at + close.unwrap_or(0) + 1)
                    }
                    _ => (false, at + 1),
                };
                if tokens
                    .get(after)
                    .is_some_and(|kind| KINDS.contains(&kind.text))
                {
                    *(if is_restricted {
                        &mut found.restricted
                    } else {
                        &mut found.public
                    }) += 1;
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::files::Sources;

    #[test]
    fn types_and_public_items_are_counted() {
        let text = "pub struct A { pub a: u8 }\npub(in crate::x) enum B {}\nimpl I for A { type C = D; pub async fn f() {} }\ntype E = A;";
        let sources = Sources::of([("lib.rs".into(), text.to_owned())]);
        let found = super::items(&sources.files[0]);
        assert_eq!(found.types, ["A", "B", "E"]);
        assert_eq!((found.public, found.restricted), (2, 1));
    }
}
