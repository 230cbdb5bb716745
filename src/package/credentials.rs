//! Texts of apt, pacman and apk without the credentials in addresses.

/// The text without the passwords of addresses: `http://user:pw@host` becomes `http://host`.
#[must_use]
pub fn redacted(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for after in parts {
        // quotes do not end it: a password may have them
        let end = after.find(|c: char| c == '/' || c.is_whitespace());
        let authority = &after[..end.unwrap_or(after.len())];
        shown.push_str("://");
        shown.push_str(&after[authority.rfind('@').map_or(0, |at| at + 1)..]);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (text, shown) in [
            ("'http://u:p@h/x'", "'http://h/x'"),
            ("http://u:it's@h", "http://h"),
            ("http://a://u:p@h", "http://a://h"),
            ("http://h/mail@x", "http://h/mail@x"),
            ("from http://u:p@h/x y@z", "from http://h/x y@z"),
            ("http://u:p/w@h/x@y", "http://u:p/w@h/x@y"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
