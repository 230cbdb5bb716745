//! Patterns of the shell, as configuration files name packages, units and paths by them.

/// Whether a text matches a pattern in which `*` stands for any characters and `?` for any one.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let [pattern, text]: [Vec<char>; 2] = [pattern, text].map(|text| text.chars().collect());
    matches_by(&pattern, &text, |pattern, c| match pattern {
        ['*', ..] => Some(0),
        ['?', ..] => Some(1),
        [plain, ..] => (*plain == c).then_some(1),
        [] => None,
    })
}

/// The same with other signs: `one` gives how many characters of a pattern stand for this first one of a text: 0 for a
/// `*`, none where it is another character. Linear in all but patterns that were made to be slow.
#[must_use]
pub fn matches_by(
    pattern: &[char],
    text: &[char],
    one: impl Fn(&[char], char) -> Option<usize>,
) -> bool {
    // where the last star was, and how much of the text it has taken
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match one(&pattern[p..], text[t]) {
            Some(0) => {
                star = Some((p, t));
                p += 1;
            }
            Some(length) => (p, t) = (p + length, t + 1),
            None => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_takes_any_characters_and_a_question_mark_one() {
        for (pattern, text) in [
            ("kernel*", "kernel"),
            ("kernel*", "kernel-core"),
            ("lib?", "libz"),
            ("a*b*c", "abbbcc"),
            ("*", ""),
            ("", ""),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("kernel*", "akernel"),
            ("lib?", "libzz"),
            ("lib?", "lib"),
            ("[a]", "a"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
