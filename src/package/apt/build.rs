//! Distinguishes two builds of one version as apt does: by their size and their relations to other packages. To apt,
//! builds that agree in these are the same, whatever their files contain.

use crate::checksum;

/// The fields that apt compares (apt-pkg/deb/deblistparser.cc of apt 2.6 and 3.0, `VersionHash`).
pub const FIELDS: [&str; 6] = [
    "Installed-Size",
    "Depends",
    "Pre-Depends",
    "Conflicts",
    "Breaks",
    "Replaces",
];

/// The part of a format of dpkg-query or `dpkg-deb --show` that prints these fields, tabs between them.
pub fn format() -> String {
    FIELDS.map(|field| format!("${{{field}}}")).join("\t")
}

/// The checksum of the values of these fields, in this order; one that is missing is empty.
pub fn sum<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for value in values {
        plain(value, &mut text);
        text.push('\n');
    }
    checksum::sha256(text.as_bytes())
}

/// Differences in form that dpkg introduces do not count: spaces, and the operators `<` and `>`, which mean `<=` and
/// `>=`.
fn plain(value: &str, text: &mut String) {
    let mut before = ' ';
    let mut signs = value.chars().filter(|c| !c.is_whitespace()).peekable();
    while let Some(sign) = signs.next() {
        text.push(sign.to_ascii_lowercase());
        let after = signs.peek().copied().unwrap_or(' ');
        if matches!(sign, '<' | '>') && before != sign && !matches!(after, '<' | '>' | '=') {
            text.push('=');
        }
        before = sign;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_field_is_of_no_matter() {
        let of = |depends: &str| sum(["11", depends, "", "", "", ""]);
        // as dpkg 1.22 enters it
        assert_eq!(of("libnew,dpkg(>=1)"), of("libnew, dpkg (>= 1)"));
        assert_eq!(of("a (< 1)"), of("a (<= 1)"));
        assert_ne!(of("a (<< 1)"), of("a (<= 1)"));
        assert_ne!(of("a"), of("b"));
        assert_ne!(sum(["1", ""]), sum(["", "1"]));
    }
}
