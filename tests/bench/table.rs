//! The table: what was measured, side by side, with what is aimed at.

use std::fmt::Write as _;

/// What numbers count.
#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Megabytes,
}

/// What is aimed at.
#[derive(Clone, Copy)]
pub enum Target {
    /// Ours is at most so many times the other.
    Ratio(f64),
    /// Ours is at most so much more than the other.
    Difference(f64),
    /// Ours is at most this.
    Limit(f64),
}

/// One measurement; the numbers are medians.
pub struct Row {
    pub work: String,
    pub unit: Unit,
    /// What we are compared with: its name, and how it did.
    pub other: Option<(&'static str, f64)>,
    pub ours: f64,
    pub target: Target,
}

impl Row {
    fn other(&self) -> f64 {
        self.other.map_or(f64::NAN, |(_, value)| value)
    }

    fn is_reached(&self) -> bool {
        self.ours
            <= match self.target {
                Target::Ratio(most) => self.other() * most,
                Target::Difference(most) => self.other() + most,
                Target::Limit(most) => most,
            }
    }

    fn verdict(&self) -> String {
        let unit = self.unit.name();
        let (measured, aim) = match self.target {
            Target::Ratio(most) => (
                format!("x {:.2}", self.ours / self.other()),
                format!("x {most:.2}"),
            ),
            Target::Difference(most) => (
                format!("{:+.2} {unit}", self.ours - self.other()),
                format!("{most:+.2} {unit}"),
            ),
            Target::Limit(most) => (format!("{:.2} {unit}", self.ours), format!("{most} {unit}")),
        };
        let word = if self.is_reached() {
            "reached"
        } else {
            "MISSED"
        };
        format!("{measured:>10}  {aim:>10}  {word}")
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Megabytes => "MB",
        }
    }
}

/// The table as text.
pub fn shown(rows: &[Row]) -> String {
    let head = ["work", "compared with", "it", "ours", "measured", "aim"];
    let [work, with, it, ours, measured, aim] = head;
    let mut text =
        format!("{work:<46}  {with:<24}  {it:>9}  {ours:>9}  {measured:>10}  {aim:>10}\n");
    for row in rows {
        let unit = row.unit.name();
        let (name, value) = row.other.map_or(("", String::new()), |(name, value)| {
            (name, format!("{value:.2} {unit}"))
        });
        let _ = writeln!(
            text,
            "{:<46}  {name:<24}  {value:>9}  {:>9}  {}",
            row.work,
            format!("{:.2} {unit}", row.ours),
            row.verdict()
        );
    }
    text
}
