//! Tables whose columns are as wide as their widest cell, and cut where the terminal ends.

use super::view::{View, columns};

/// The least width to which a column is cut.
const LEAST: usize = 8;

/// Between two columns.
const GAP: usize = 2;

/// Rows of cells; the first has the names of the columns.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these names of columns.
    pub fn new(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Self {
        let head = head.iter().map(ToString::to_string).collect();
        Self {
            rows: std::iter::once(head).chain(rows).collect(),
        }
    }

    /// The table as a text.
    pub fn shown(&self, view: &View) -> String {
        let widths = fitted(self.widths(), view.terminal.width);
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells.map(|(cell, &width)| padded(cell, width)).collect();
            cells.join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn widths(&self) -> Vec<usize> {
        let count = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(move |row| columns(&row[column])).max();
        (0..count).filter_map(width).collect()
    }
}

/// The widths with which all fits: the widest column gives way, again and again.
fn fitted(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > LEAST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// A cell with the blanks after it; one that is too long ends in an ellipsis.
fn padded(cell: &str, width: usize) -> String {
    let length = columns(cell);
    if length > width {
        let cut = cell.chars().take(width.saturating_sub(1));
        return cut.chain(['…']).collect();
    }
    format!("{cell}{}", " ".repeat(width - length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::view::{Colour, painted};
    use crate::cli::terminal::Terminal;

    fn view(width: usize) -> View {
        View {
            terminal: Terminal {
                width,
                colour: false,
            },
            utc: true,
            now: chrono::DateTime::default(),
        }
    }

    #[test]
    fn a_table_fits_where_it_can() {
        let rows = [["a", "1.0", &"x".repeat(90)], ["b", "2.0", "y"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        let table = Table::new(&["PACKAGE", "VERSION", "ORIGIN"], rows.into_iter());
        let whole = table.shown(&view(usize::MAX));
        assert!(whole.contains(&"x".repeat(90)), "{whole}");
        let cut = table.shown(&view(40));
        assert!(cut.lines().all(|line| line.chars().count() <= 40), "{cut}");
        assert!(cut.lines().nth(1).unwrap().ends_with("x…"), "{cut}");
        // no narrower than it can be read
        assert!(
            table
                .shown(&view(5))
                .lines()
                .nth(2)
                .unwrap()
                .starts_with("b ")
        );
        let painted = Table::new(
            &["A", "B"],
            [vec![painted(Colour::Bad, "x"), "y".to_owned()]].into_iter(),
        );
        let shown = view(80).finished(&painted.shown(&view(80)));
        assert_eq!(shown, "A  B\nx  y");
    }
}
