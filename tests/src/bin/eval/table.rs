//! Text tables: the first column to the left, figures to the right.

use std::fmt;

#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    left: usize,
}

impl Table {
    /// With its head; so many columns are texts.
    pub(crate) fn new(left: usize, head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(ToString::to_string).collect()], left }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = " ".repeat(width - cell.chars().count());
                let (before, after) =
                    if column < self.left { ("", gap.as_str()) } else { (gap.as_str(), "") };
                line.extend([before, cell, after, "  "]);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Three digits that matter, no more.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v < 0.001 => format!("{value:.1e}"),
        v if v < 0.1 => format!("{value:.4}"),
        v if v < 1.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// One figure of a row, if it has it.
pub(crate) type Measure<'a, T> = &'a dyn Fn(&T) -> Option<f64>;

/// The middle one, the upper of two, and the largest.
pub(crate) fn median_worst(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(1, &["file", "n"]);
        table.row(vec!["a".into(), "100".into()]);
        table.row(vec!["größer".into(), "7".into()]);
        assert_eq!(table.to_string(), "file      n\na       100\ngrößer    7\n");
    }

    #[test]
    fn figures_are_short() {
        let figures = [0.0, 0.000_01, 0.0123, 0.5, 2.345, 1234.5].map(figure);
        assert_eq!(figures, ["0", "1.0e-5", "0.0123", "0.50", "2.3", "1234"]);
    }

    #[test]
    fn the_middle_and_the_worst() {
        assert_eq!(median_worst([3.0, 1.0, 2.0, 9.0].into_iter()), Some((3.0, 9.0)));
        assert_eq!(median_worst(std::iter::empty()), None);
    }
}
