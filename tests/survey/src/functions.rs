//! The functions of a file.

use std::ops::Range;

use crate::files::File;
use crate::tokens::Token;

/// A function outside tests that has a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it takes `self`.
    pub is_method: bool,
    /// From the line of its `fn` to that of its closing brace, both counted.
    pub lines: usize,
    /// The tokens of its body in the file's tokens outside tests.
    pub(crate) body: Range<usize>,
}

/// Every function of the file, those inside of others as well; a method of a trait counts if it has a default.
pub fn functions(file: &File) -> Vec<Function> {
    of(&file.tokens())
}

pub(crate) fn of(tokens: &[Token<'_>]) -> Vec<Function> {
    let starts = (0..tokens.len().saturating_sub(1))
        .filter(|at| tokens[*at].text == "fn" && tokens[at + 1].is_name());
    starts.filter_map(|at| function(tokens, at)).collect()
}

/// The names of the functions that a trait declares without a body.
pub(crate) fn declared(tokens: &[Token<'_>]) -> Vec<String> {
    let starts = (0..tokens.len().saturating_sub(1))
        .filter(|at| tokens[*at].text == "fn" && tokens[at + 1].is_name());
    let bodiless = starts.filter(|at| function(tokens, *at).is_none());
    bodiless.map(|at| tokens[at + 1].text.to_owned()).collect()
}

fn function(tokens: &[Token<'_>], start: usize) -> Option<Function> {
    let parameters = start + tokens[start..].iter().position(|token| token.text == "(")?;
    let open = signature_end(tokens, parameters)?;
    let close = closing(tokens, open);
    let first = tokens[parameters..].iter().skip(1).take(4);
    Some(Function {
        name: tokens[start + 1].text.to_owned(),
        is_method: first
            .take_while(|token| ["&", "mut", "self"].contains(&token.text))
            .any(|token| token.text == "self"),
        lines: tokens[close].line - tokens[start].line + 1,
        body: open..close,
    })
}

/// The brace that opens the body; none where the declaration ends without one.
fn signature_end(tokens: &[Token<'_>], start: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            ";" if depth == 0 => return None,
            "{" if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::tokens;

    #[test]
    fn functions_are_found_with_their_length() {
        let text = "trait A { fn a(&self) -> [u8; 2]; fn b(&mut self) {} }\nfn c<'a>(x: fn(u8)) -> u8 {\n  d()\n}\nfn e(self: &Arc<Self>) {}";
        let found: Vec<_> = of(&tokens(text))
            .into_iter()
            .map(|f| (f.name, f.is_method, f.lines))
            .collect();
        let expected = [("b", true, 1), ("c", false, 3), ("e", true, 1)];
        assert_eq!(
            found,
            expected.map(|(name, is, lines)| (name.to_owned(), is, lines))
        );
    }
}
