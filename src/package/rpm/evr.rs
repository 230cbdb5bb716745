//! Versions of RPM: `[epoch:]version[-release]`, and their order.

use std::cmp::Ordering;

/// Compares two versions as rpm does (rpm-version(7)): epoch, version, release; a missing epoch is 0.
pub fn compare(one: &str, other: &str) -> Ordering {
    let ((epoch, version, release), (other_epoch, other_version, other_release)) =
        (parts(one), parts(other));
    epoch
        .cmp(&other_epoch)
        .then_with(|| segments(version, other_version))
        .then_with(|| segments(release, other_release))
}

/// The version as the tools print it: without an epoch of 0.
pub fn shown(text: &str) -> &str {
    text.strip_prefix("0:").unwrap_or(text)
}

/// The version with its epoch, also where that is 0: `dnf` takes this form for nothing else.
pub fn full(text: &str) -> String {
    if text.contains(':') {
        text.to_owned()
    } else {
        format!("0:{text}")
    }
}

/// The version without its epoch, as it stands in the name of a package file.
pub fn without_epoch(text: &str) -> &str {
    text.split_once(':').map_or(text, |(_, rest)| rest)
}

fn parts(text: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, text),
    };
    let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, version, release)
}

/// rpm's order of two version strings (rpm-version(7), "Version comparison"): runs of digits as
/// numbers, runs of letters as text, a number above letters, `~` before everything, `^` after the end
/// and before anything else.
fn segments(mut one: &str, mut other: &str) -> Ordering {
    let counts = |c: char| c.is_ascii_alphanumeric() || c == '~' || c == '^';
    loop {
        one = one.trim_start_matches(|c| !counts(c));
        other = other.trim_start_matches(|c| !counts(c));
        match (one.strip_prefix('~'), other.strip_prefix('~')) {
            (Some(rest), Some(other_rest)) => (one, other) = (rest, other_rest),
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => match (one.strip_prefix('^'), other.strip_prefix('^')) {
                (Some(rest), Some(other_rest)) => (one, other) = (rest, other_rest),
                (Some(_), None) if other.is_empty() => return Ordering::Greater,
                (None, Some(_)) if one.is_empty() => return Ordering::Less,
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
                (None, None) if one.is_empty() || other.is_empty() => {
                    return one.len().cmp(&other.len());
                }
                (None, None) => {
                    let digits = one.starts_with(|c: char| c.is_ascii_digit());
                    let of_kind = |c: char| {
                        if digits {
                            c.is_ascii_digit()
                        } else {
                            c.is_ascii_alphabetic()
                        }
                    };
                    let split = |text: &str| text.find(|c| !of_kind(c)).unwrap_or(text.len());
                    let (run, rest) = one.split_at(split(one));
                    let (other_run, other_rest) = other.split_at(split(other));
                    let order = match (digits, other_run.is_empty()) {
                        // a number is newer than letters
                        (true, true) => return Ordering::Greater,
                        (false, true) => return Ordering::Less,
                        (true, false) => numbers(run, other_run),
                        (false, false) => run.cmp(other_run),
                    };
                    if order.is_ne() {
                        return order;
                    }
                    (one, other) = (rest, other_rest);
                }
            },
        }
    }
}

/// Compares runs of digits of any length.
fn numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of rpm's own test suite (rpm, `tests/rpmvercmp.at`).
    #[test]
    fn versions_compare_as_rpm_s_own_tests_say() {
        use Ordering::{Equal, Greater, Less};
        for (one, other, order) in [
            ("1.0", "1.0", Equal),
            ("1.0", "2.0", Less),
            ("2.0.1", "2.0", Greater),
            ("2.0.1a", "2.0.1", Greater),
            ("5.5p1", "5.5p10", Less),
            ("10xyz", "10.1xyz", Less),
            ("xyz10", "xyz10.1", Less),
            ("xyz.4", "8", Less),
            ("5.5p2", "5.6p1", Less),
            ("6.0.rc1", "6.0", Greater),
            ("10b2", "10a1", Greater),
            ("1.0aa", "1.0a", Greater),
            ("10.0001", "10.0039", Less),
            ("4.999.9", "5.0", Less),
            ("20101121", "20101122", Less),
            ("2_0", "2.0", Equal),
            ("a+", "a_", Equal),
            ("1.0~rc1", "1.0", Less),
            ("1.0~rc1~git123", "1.0~rc1", Less),
            ("1.0^", "1.0", Greater),
            ("1.0^git1", "1.01", Less),
            ("1.0~rc1^git1", "1.0~rc1", Greater),
            ("1.0^git1~pre", "1.0^git1", Less),
        ] {
            assert_eq!(segments(one, other), order, "{one} {other}");
            assert_eq!(segments(other, one), order.reverse(), "{other} {one}");
        }
        assert_eq!(compare("1:1.0-1", "2.0-9"), Greater);
        assert_eq!(compare("0:1.0-2.fc41", "1.0-10.fc41"), Less);
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_one(a in "[0-9a-c.~^:-]{0,8}", b in "[0-9a-c.~^:-]{0,8}") {
            assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
