//! How a text is shown: lines as wide as the terminal, colours where it has them, times of the reader's clock.

use chrono::{DateTime, Local, TimeDelta, Utc};

use crate::cli::terminal::Terminal;
use crate::journal::plain;

/// What is shown, and where.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Where it goes.
    pub terminal: Terminal,
    /// Whether times are those of UTC, instead of the reader's time zone.
    pub utc: bool,
    /// Times are shown relative to this.
    pub now: DateTime<Utc>,
}

/// A colour, by what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// All is well.
    Good,
    /// An administrator should know.
    Warning,
    /// It is broken, or has failed.
    Bad,
}

/// Noncharacters of Unicode, which no text has: where a colour begins, and where it ends. They become escape
/// sequences only after everything that could steer a terminal was taken out.
const MARKS: [(char, &str); 4] = [
    ('\u{fdd0}', "\x1b[0m"),
    ('\u{fdd1}', "\x1b[32m"),
    ('\u{fdd2}', "\x1b[33m"),
    ('\u{fdd3}', "\x1b[31m"),
];

/// A text in a colour.
pub fn painted(colour: Colour, text: &str) -> String {
    let mark = match colour {
        Colour::Good => 1,
        Colour::Warning => 2,
        Colour::Bad => 3,
    };
    let (begin, end) = (MARKS[mark].0, MARKS[0].0);
    format!("{begin}{text}{end}")
}

/// How many columns a text takes.
pub fn columns(text: &str) -> usize {
    let is_mark = |c: &char| MARKS.iter().any(|(mark, _)| mark == c);
    text.chars().filter(|c| !is_mark(c)).count()
}

impl View {
    /// Takes out of a text what could steer a terminal, and puts its colours in; ready to be written.
    pub fn finished(&self, text: &str) -> String {
        let lines: Vec<String> = text.lines().map(plain).collect();
        let mut text = lines.join("\n");
        for (mark, sequence) in MARKS {
            text = text.replace(mark, if self.terminal.colour { sequence } else { "" });
        }
        text
    }

    /// A time of a record for people, with how long ago it was, or in how long it will be.
    pub fn time(&self, time: DateTime<Utc>) -> String {
        format!("{}, {}", self.absolute(time), relative(time - self.now))
    }

    /// The same in a table, where every row has one.
    pub fn short_time(&self, time: Option<DateTime<Utc>>) -> String {
        time.map_or_else(String::new, |time| self.absolute(time))
    }

    /// How long ago a time of a record was; empty where the record has none.
    pub fn age(&self, time: Option<DateTime<Utc>>) -> String {
        let age = |time| length(self.now - time).unwrap_or_else(|| "new".to_owned());
        time.map_or_else(String::new, age)
    }

    fn absolute(&self, time: DateTime<Utc>) -> String {
        let local = time.with_timezone(&Local);
        if self.utc || local.offset().local_minus_utc() == 0 {
            return time.format("%Y-%m-%d %H:%M:%S UTC").to_string();
        }
        local.format("%Y-%m-%d %H:%M:%S %:z").to_string()
    }

    /// A line that is broken between words where the terminal ends, and goes on below its beginning.
    pub fn wrapped(&self, line: &str) -> String {
        let indent = line.len() - line.trim_start().len();
        self.wrapped_at(line, indent.min(16) + 4)
    }

    /// The same; what follows the first line begins at a column.
    pub fn wrapped_at(&self, line: &str, indent: usize) -> String {
        let width = self.terminal.width;
        if columns(line) <= width || indent + 20 > width {
            return line.to_owned();
        }
        let (mut lines, mut current) = (Vec::new(), String::new());
        for word in line.split_inclusive(' ') {
            let is_first = current.trim().is_empty();
            if !is_first && columns(&current) + columns(word.trim_end()) > width {
                lines.push(std::mem::replace(&mut current, " ".repeat(indent)));
            }
            current.push_str(word);
        }
        lines.push(current);
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        lines.join("\n")
    }
}

/// How long until then, or since then, in its largest unit.
fn relative(until: TimeDelta) -> String {
    match length(until) {
        None => "just now".to_owned(),
        Some(length) if until < TimeDelta::zero() => format!("{length} ago"),
        Some(length) => format!("in {length}"),
    }
}

/// A length of time in its largest unit; `None` where it is too short to be shown.
fn length(time: TimeDelta) -> Option<String> {
    let (count, unit) = match time.num_seconds().unsigned_abs() {
        0..=9 => return None,
        length @ 10..=59 => (length, "s"),
        length @ 60..=3599 => (length / 60, "min"),
        length @ 3600..=86_399 => (length / 3600, "h"),
        length if length < 2 * 86_400 => (1, "day"),
        length => (length / 86_400, "days"),
    };
    Some(format!("{count} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(width: usize, colour: bool) -> View {
        View {
            terminal: Terminal { width, colour },
            utc: true,
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    #[test]
    fn times_are_told_by_the_clock_and_relative_to_now() {
        let view = view(80, false);
        for (time, expected) in [
            ("2026-01-02T03:04:00Z", "2026-01-02 03:04:00 UTC, just now"),
            (
                "2026-01-02T04:03:30.123+01:00",
                "2026-01-02 03:03:30 UTC, 34 s ago",
            ),
            ("2026-01-02T00:04:05Z", "2026-01-02 00:04:05 UTC, 3 h ago"),
            ("2026-01-01T01:04:05Z", "2026-01-01 01:04:05 UTC, 1 day ago"),
            (
                "2025-12-30T01:04:05Z",
                "2025-12-30 01:04:05 UTC, 3 days ago",
            ),
            ("2026-01-02T03:09:05Z", "2026-01-02 03:09:05 UTC, in 5 min"),
        ] {
            assert_eq!(view.time(time.parse().unwrap()), expected);
        }
    }

    #[test]
    fn lines_are_broken_between_words() {
        let long = "  a note: the quick brown fox jumps over the lazy dog and over the fence";
        let wrapped = view(40, false).wrapped(long);
        assert!(wrapped.lines().count() > 1, "{wrapped}");
        assert!(wrapped.lines().all(|line| line.len() <= 40), "{wrapped}");
        assert_eq!(
            wrapped.split_whitespace().collect::<Vec<_>>(),
            long.split_whitespace().collect::<Vec<_>>()
        );
        assert_eq!(view(usize::MAX, false).wrapped(long), long);
        let url = format!("  {}", "x".repeat(100));
        assert_eq!(view(40, false).wrapped(&url), url, "a word is left whole");
    }

    #[test]
    fn a_colour_is_ours_alone() {
        let text = painted(Colour::Bad, "failed\u{1b}[2J");
        assert_eq!(columns(&painted(Colour::Good, "ok")), 2);
        assert_eq!(
            view(80, true).finished(&text),
            "\u{1b}[31mfailed [2J\u{1b}[0m"
        );
        assert_eq!(view(80, false).finished(&text), "failed [2J");
    }
}
