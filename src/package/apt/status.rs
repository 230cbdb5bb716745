//! The lines apt writes to `APT::Status-Fd`: progress only, never a proof of success.

use crate::package::Report;

/// Parses one line, such as `dlstatus:1:4.31:Retrieving file 1 of 23` or
/// `pmstatus:libc6:10.5:Unpacking libc6 (amd64)`; at most four fields, the last may contain colons.
/// Errors (`pmerror`, `pmconffile`) come on standard error and in the database, too.
pub fn parse(line: &str) -> Option<Report> {
    let mut fields = line.splitn(4, ':');
    let (kind, item) = (fields.next()?, fields.next()?);
    // `pmstatus:name:arch:…` has the architecture where the percentage is expected
    let (percent, action) = match (percent(fields.next()?), fields.next()) {
        (Some(percent), action) => (percent, action.unwrap_or(item)),
        (None, Some(rest)) => {
            let (number, action) = rest.split_once(':')?;
            (self::percent(number)?, action)
        }
        (None, None) => return None,
    };
    match kind {
        "dlstatus" => Some(Report::Downloading { percent }),
        "pmstatus" => Some(Report::Installing {
            percent,
            action: action.to_owned(),
        }),
        _ => None,
    }
}

fn percent(text: &str) -> Option<u32> {
    let number: f64 = text.parse().ok()?;
    // clamped just before, so the conversion loses nothing
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    number
        .is_finite()
        .then_some(number.clamp(0.0, 100.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines() {
        assert_eq!(
            parse("dlstatus:4:67.4013:Retrieving file 4 of 4"),
            Some(Report::Downloading { percent: 67 })
        );
        let action = "Unpacking zlib1g (amd64)".to_owned();
        assert_eq!(
            parse("pmstatus:zlib1g:10.0000:Unpacking zlib1g (amd64)"),
            Some(Report::Installing {
                percent: 10,
                action: action.clone()
            })
        );
        assert_eq!(
            parse("pmstatus:zlib1g:amd64:20.5:Unpacking zlib1g (amd64)"),
            Some(Report::Installing {
                percent: 20,
                action
            })
        );
        assert!(parse("pmstatus:dpkg-exec:0.0000:Running dpkg").is_some());
        for line in [
            "",
            "x",
            "pmerror:demo:5.0:failed",
            "E: dpkg was interrupted",
            "dlstatus:1:nan:x",
            "pmstatus:a:b",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_survived(line in ".{0,200}") {
            if let Some(Report::Downloading { percent } | Report::Installing { percent, .. }) = parse(&line) {
                assert!(percent <= 100);
            }
        }
    }
}
