//! A list whose lines can change after they were printed.

use crate::failure::Failure;
use console::{Term, truncate_str};

/// Lines on a terminal, each of which can be rewritten as long as it has not scrolled away.
pub struct LiveList {
    term: Term,
    lines: usize,
}

impl LiveList {
    /// An empty list that begins where the cursor is.
    pub fn new() -> Self {
        Self { term: Term::stdout(), lines: 0 }
    }

    /// Adds a line at the end.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn push(&mut self, text: &str) -> Result<(), Failure> {
        self.term.write_line(&self.fit(text))?;
        self.lines += 1;
        Ok(())
    }

    /// Rewrites the line with this index, counted from 0, if it is still to be seen.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn update(&mut self, index: usize, text: &str) -> Result<(), Failure> {
        let (height, _) = self.term.size();
        let up = self.lines.saturating_sub(index);
        // The line of the cursor itself takes one row of the screen.
        if up == 0 || up >= usize::from(height) {
            return Ok(());
        }
        self.term.move_cursor_up(up)?;
        self.term.clear_line()?;
        self.term.write_line(&self.fit(text))?;
        self.term.move_cursor_down(up - 1)?;
        Ok(())
    }

    /// A line that wraps would take two rows and spoil the counting.
    fn fit(&self, text: &str) -> String {
        let (_, width) = self.term.size();
        truncate_str(text, usize::from(width).saturating_sub(1), "…").into_owned()
    }
}
