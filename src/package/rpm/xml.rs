//! The little of XML that repositories and zypper speak: elements with attributes, and their text.

use std::collections::BTreeMap;

/// One step through a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// An element begins; one that is empty ends at once.
    Start {
        /// Its name, with its prefix.
        name: String,
        /// Its attributes, with their entities resolved.
        attributes: BTreeMap<String, String>,
    },
    /// An element ends.
    End(String),
    /// Text between them that is more than white space, with its entities resolved.
    Text(String),
}

/// The nodes of a document, or of what there is of it: what cannot be read is skipped, because a missing element is
/// noticed by the caller that needs it. Comments and declarations are left out.
pub fn nodes(document: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut rest = document;
    while let Some(open) = rest.find('<') {
        push_text(&mut nodes, &rest[..open]);
        rest = &rest[open..];
        let skip = if rest.starts_with("<!--") {
            rest.find("-->").map(|end| end + 3)
        } else {
            tag_end(rest).inspect(|end| push_tag(&mut nodes, &rest[1..end - 1]))
        };
        let Some(skip) = skip else { return nodes };
        rest = &rest[skip..];
    }
    push_text(&mut nodes, rest);
    nodes
}

/// Just behind the `>` of a tag, which may stand in a quoted value, too.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    for (position, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(position + 1),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    if !text.trim().is_empty() {
        nodes.push(Node::Text(resolved(text.trim())));
    }
}

fn push_tag(nodes: &mut Vec<Node>, inside: &str) {
    if inside.starts_with(['?', '!']) {
        return;
    }
    if let Some(name) = inside.strip_prefix('/') {
        nodes.push(Node::End(name.trim().to_owned()));
        return;
    }
    let (inside, empty) = match inside.strip_suffix('/') {
        Some(inside) => (inside, true),
        None => (inside, false),
    };
    let end = inside.find(char::is_whitespace).unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    nodes.push(Node::Start {
        name: name.to_owned(),
        attributes: attributes(rest),
    });
    if empty {
        nodes.push(Node::End(name.to_owned()));
    }
}

fn attributes(mut text: &str) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let rest = rest.trim_start();
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            break;
        };
        let Some((value, rest)) = rest[1..].split_once(quote) else {
            break;
        };
        attributes.insert(name.trim().to_owned(), resolved(value));
        text = rest;
    }
    attributes
}

/// The text with the five entities of XML, and characters by their number, in their place.
fn resolved(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('&') {
        result.push_str(&rest[..position]);
        rest = &rest[position..];
        let Some(end) = rest.find(';') else { break };
        let entity = &rest[1..end];
        let number = entity
            .strip_prefix("#x")
            .map(|hex| u32::from_str_radix(hex, 16))
            .or_else(|| entity.strip_prefix('#').map(str::parse));
        let character = match (entity, number) {
            ("lt", _) => Some('<'),
            ("gt", _) => Some('>'),
            ("amp", _) => Some('&'),
            ("quot", _) => Some('"'),
            ("apos", _) => Some('\''),
            (_, Some(Ok(number))) => char::from_u32(number),
            _ => None,
        };
        match character {
            Some(character) => result.push(character),
            None => result.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_attributes_and_text() {
        let nodes = nodes(
            "<?xml version='1.0'?>\n<stream><!-- a > b --><m type=\"info\">it&apos;s &#65;&#x42; &x;</m><e a='1 > 0' b=\"&lt;\"/></stream>",
        );
        let start = |name: &str, attributes: &[(&str, &str)]| Node::Start {
            name: name.into(),
            attributes: attributes
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
        };
        assert_eq!(
            nodes,
            [
                start("stream", &[]),
                start("m", &[("type", "info")]),
                Node::Text("it's AB &x;".into()),
                Node::End("m".into()),
                start("e", &[("a", "1 > 0"), ("b", "<")]),
                Node::End("e".into()),
                Node::End("stream".into()),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_document_is_survived(text in "[<>/a&;#x'\"= é!?-]{0,60}") {
            let _ = nodes(&text);
        }
    }
}
