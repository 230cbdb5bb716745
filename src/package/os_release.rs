//! os-release(5): what the operating system calls itself.

/// The fields that say which package manager to expect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`; `linux` when it is not set, as os-release(5) has it.
    pub id: String,
    /// `ID_LIKE`: what it is derived from, the closest first.
    pub like: Vec<String>,
    /// `PRETTY_NAME`, for people; else `NAME`, else the id.
    pub name: String,
    /// `VERSION_ID`; none for a release that goes on for ever.
    pub version: Option<String>,
    /// `IMAGE_ID`: set where the system is built and updated as a whole image.
    pub image: Option<String>,
}

impl OsRelease {
    /// Reads the text of the file: `KEY=VALUE` lines as a shell would take them, the last one of a key
    /// winning. What is no assignment is passed over, as systemd does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let value = |wanted: &str| {
            let of_key = |line: &str| {
                let (key, value) = line.trim().split_once('=')?;
                (key == wanted).then(|| unquoted(value))
            };
            let last = text.lines().filter_map(of_key).next_back();
            last.filter(|value| !value.is_empty())
        };
        let id = value("ID").unwrap_or_else(|| "linux".to_owned());
        let like = value("ID_LIKE").unwrap_or_default();
        Self {
            like: like.split_whitespace().map(str::to_owned).collect(),
            name: value("PRETTY_NAME")
                .or_else(|| value("NAME"))
                .unwrap_or_else(|| id.clone()),
            version: value("VERSION_ID"),
            image: value("IMAGE_ID"),
            id,
        }
    }

    /// Its own id, and then those of what it is derived from.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.id)
            .chain(&self.like)
            .map(String::as_str)
    }
}

/// A value without its quotes: in double ones a backslash protects `"`, `$`, `` ` `` and itself, in
/// single ones nothing does, without quotes it protects whatever comes next.
fn unquoted(value: &str) -> String {
    let (quote, inner) = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = &value[1..];
            (Some(quote), inner.strip_suffix(quote).unwrap_or(inner))
        }
        _ => (None, value),
    };
    if quote == Some('\'') {
        return inner.to_owned();
    }
    let mut text = String::new();
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        let protects = |next: &char| quote.is_none() || matches!(next, '"' | '$' | '`' | '\\');
        match character {
            '\\' if characters.peek().is_some_and(protects) => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_as_a_shell_does() {
        for (written, meant) in [
            ("plain", "plain"),
            (r#""two words""#, "two words"),
            ("'single $x'", "single $x"),
            (r#""a \"b\" \$c \`d\` \\e \f""#, r#"a "b" $c `d` \e \f"#),
            (r"a\ b", "a b"),
            ("\"unfinished", "unfinished"),
            ("\"", ""),
            ("", ""),
        ] {
            assert_eq!(unquoted(written), meant, "{written}");
        }
    }

    #[test]
    fn the_fields_are_found() {
        let os = OsRelease::parse(
            "# remark\nNAME=\"x\"\nID=first\nID='second'\nID_LIKE=\"rhel  fedora\"\nIMAGE_ID=\n",
        );
        assert_eq!(os.ids().collect::<Vec<_>>(), ["second", "rhel", "fedora"]);
        assert_eq!((os.name.as_str(), os.image), ("x", None));
        assert_eq!(OsRelease::parse("").id, "linux");
    }
}
