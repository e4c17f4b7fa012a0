//! Columns that stand below each other.

use super::paint::Paint;
use console::measure_text_width;

/// To which side the cells of a column lean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lean {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table; cells may be painted.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(&'static str, Lean)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[(&'static str, Lean)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty, those that are too many are left out.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().take(self.columns.len()).collect());
    }

    /// The lines: headings, then rows. Two spaces stand between columns and none at the end.
    pub fn render(&self, paint: Paint) -> String {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, (heading, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(at));
                let widest = cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0);
                widest.max(measure_text_width(heading))
            })
            .collect();
        let headings: Vec<String> =
            self.columns.iter().map(|(heading, _)| paint.faint(heading)).collect();
        let mut out = self.line(&headings, &widths);
        for row in &self.rows {
            out.push('\n');
            out.push_str(&self.line(row, &widths));
        }
        out
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            let pad = " ".repeat(width.saturating_sub(measure_text_width(cell)));
            let lean = self.columns.get(at).map_or(Lean::Left, |(_, lean)| *lean);
            match lean {
                Lean::Right => line.extend([pad.as_str(), cell.as_str()]),
                Lean::Left if at + 1 == self.columns.len() => line.push_str(cell),
                Lean::Left => line.extend([cell.as_str(), pad.as_str()]),
            }
        }
        line.trim_end().to_owned()
    }
}

/// Facts with their labels, one a line, the facts below each other.
pub fn facts(facts: &[(&str, String)], paint: Paint) -> String {
    let width = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let lines: Vec<String> = facts
        .iter()
        .map(|(label, fact)| format!("{}  {fact}", paint.faint(format!("{label:<width$}"))))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table =
            Table::new(&[("name", Lean::Left), ("size", Lean::Right), ("who", Lean::Left)]);
        table.row(["a".to_owned(), "1".to_owned(), "x".to_owned()]);
        table.row(["größer".to_owned(), "1000".to_owned(), String::new()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            table().render(Paint::PLAIN),
            "name    size  who\na          1  x\ngrößer  1000"
        );
    }

    #[test]
    fn colour_does_not_count_as_width() {
        let mut table = table();
        table.row([Paint::COLOR.name("b"), "2".to_owned(), Paint::COLOR.bad("y")]);
        let lines: Vec<String> = table
            .render(Paint::COLOR)
            .lines()
            .map(|line| console::strip_ansi_codes(line).into_owned())
            .collect();
        assert_eq!(lines[3], "b          2  y");
    }

    #[test]
    fn facts_stand_below_each_other() {
        let text =
            facts(&[("role", "super".to_owned()), ("listening", "here".to_owned())], Paint::PLAIN);
        assert_eq!(text, "role       super\nlistening  here");
    }
}
