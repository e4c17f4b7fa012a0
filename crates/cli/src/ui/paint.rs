//! Colour, or none.

use super::ColorChoice;
use console::Style;
use std::fmt::Display;

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// No colour at all.
    #[cfg(test)]
    pub const PLAIN: Self = Self { on: false };

    /// Colour, whatever the output is.
    #[cfg(test)]
    pub const COLOR: Self = Self { on: true };

    /// Decides by the user's word first, by `NO_COLOR` (<https://no-color.org>: set and not empty)
    /// second, and by the output last.
    pub fn decide(choice: ColorChoice, is_terminal: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::decide_from(choice, is_terminal, no_color, super::is_dumb_terminal())
    }

    fn decide_from(choice: ColorChoice, is_terminal: bool, no_color: bool, dumb: bool) -> Self {
        let on = match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && !no_color && !dumb,
        };
        Self { on }
    }

    /// Whether there is colour.
    pub const fn is_on(self) -> bool {
        self.on
    }

    fn apply(self, style: Style, text: impl Display) -> String {
        style.force_styling(self.on).apply_to(text).to_string()
    }

    /// What matters most in its line.
    pub fn strong(self, text: impl Display) -> String {
        self.apply(Style::new().bold(), text)
    }

    /// What need not be read.
    pub fn faint(self, text: impl Display) -> String {
        self.apply(Style::new().dim(), text)
    }

    /// What went well.
    pub fn good(self, text: impl Display) -> String {
        self.apply(Style::new().green(), text)
    }

    /// What the user should look at.
    pub fn warn(self, text: impl Display) -> String {
        self.apply(Style::new().yellow(), text)
    }

    /// What went wrong.
    pub fn bad(self, text: impl Display) -> String {
        self.apply(Style::new().red().bold(), text)
    }

    /// A name of somebody.
    pub fn name(self, text: impl Display) -> String {
        self.apply(Style::new().cyan(), text)
    }

    /// A number to refer to, or a command to type.
    pub fn key(self, text: impl Display) -> String {
        self.apply(Style::new().magenta().bold(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paint_leaves_the_text_alone() {
        let paint = Paint::PLAIN;
        for text in [paint.strong("x"), paint.faint("x"), paint.bad("x"), paint.key("x")] {
            assert_eq!(text, "x");
        }
    }

    #[test]
    fn paint_can_be_taken_off_again() {
        let text = Paint::COLOR.good("fine");
        assert_ne!(text, "fine");
        assert_eq!(console::strip_ansi_codes(&text), "fine");
    }

    #[test]
    fn the_users_word_goes_before_the_environment() {
        let decide = Paint::decide_from;
        assert!(decide(ColorChoice::Always, false, true, true).is_on());
        assert!(!decide(ColorChoice::Never, true, false, false).is_on());
        assert!(decide(ColorChoice::Auto, true, false, false).is_on());
        assert!(!decide(ColorChoice::Auto, false, false, false).is_on());
        assert!(!decide(ColorChoice::Auto, true, true, false).is_on());
        assert!(!decide(ColorChoice::Auto, true, false, true).is_on());
    }
}
