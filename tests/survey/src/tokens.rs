//! The tokens of a Rust file: names and punctuation, without comments and without what stands in literals.

/// One token and the line it stands on, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

impl Token<'_> {
    pub fn is_name(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Every token of the text. A literal is the one token `"`; a lifetime is none.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut found, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(c) = rest.chars().next() {
        let (length, token) = step(rest, c);
        match token {
            Kind::Literal => found.push(Token { text: "\"", line }),
            Kind::Plain => found.push(Token {
                text: &rest[..length],
                line,
            }),
            Kind::Nothing => {}
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

enum Kind {
    Nothing,
    Literal,
    Plain,
}

/// The length and the kind of what the text starts with.
fn step(text: &str, first: char) -> (usize, Kind) {
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), Kind::Nothing);
    }
    if text.starts_with("/*") {
        return (block_comment(text), Kind::Nothing);
    }
    if let Some(length) = string(text) {
        return (length, Kind::Literal);
    }
    match first {
        '\'' => quote(text),
        c if c.is_whitespace() => (c.len_utf8(), Kind::Nothing),
        c if c.is_alphanumeric() || c == '_' => (name(text), Kind::Plain),
        _ if text.starts_with("::") => (2, Kind::Plain),
        c => (c.len_utf8(), Kind::Plain),
    }
}

fn name(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string literal that the text starts with, if it starts with one.
fn string(text: &str) -> Option<usize> {
    let prefix = ["\"", "b\"", "c\"", "r\"", "r#", "br\"", "br#"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))?;
    if !prefix.contains('r') {
        return Some(plain_string(text, prefix.len()));
    }
    let start = prefix.trim_end_matches(['"', '#']).len();
    let hashes = text[start..].chars().take_while(|c| *c == '#').count();
    // `r#type` is a name
    let body = text[start + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(start + hashes + 1 + length)
}

fn plain_string(text: &str, start: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text[start..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return start + at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character or a lifetime.
fn quote(text: &str) -> (usize, Kind) {
    let mut rest = text.char_indices().skip(1);
    match (rest.next(), rest.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let after = at + c.len_utf8();
            (
                text[after..]
                    .find('\'')
                    .map_or(text.len(), |end| after + end + 1),
                Kind::Literal,
            )
        }
        (Some(_), Some((at, '\''))) => (at + 1, Kind::Literal),
        _ => (1 + name(&text[1..]), Kind::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> String {
        tokens(text)
            .iter()
            .map(|token| token.text)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn comments_and_literals_are_left_out() {
        assert_eq!(texts("a /* b /* c */ d */ e // f\ng"), "a e g");
        assert_eq!(
            texts(r#"a("b\"c", 'd', '\'', b"e")"#),
            "a ( \" , \" , \" , \" )"
        );
        assert_eq!(texts("r#\"a\"b\"# c::d<'e>"), "\" c :: d < >");
        assert_eq!(texts("'\\u{1f}' x"), "\" x");
    }

    #[test]
    fn lines_are_counted_through_strings() {
        assert_eq!(
            tokens("\"a\nb\"\nc").last().map(|token| token.line),
            Some(3)
        );
    }
}
