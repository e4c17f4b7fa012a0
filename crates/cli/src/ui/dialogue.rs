//! Lines that a person types while other lines are shown.
//!
//! On a terminal what is shown goes above the line that is being typed, which stays whole and can
//! be edited. Elsewhere lines are read and written as they come.

use crate::failure::Failure;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use tokio::sync::mpsc;

/// Lines that were typed and not taken yet.
const TYPED_WAITING: usize = 16;

/// Where lines are typed, and others are shown.
pub struct Dialogue {
    typed: mpsc::Receiver<io::Result<String>>,
    screen: Screen,
}

enum Screen {
    /// Lines below each other.
    Plain,
    /// A terminal with a line that is being edited.
    Editor {
        printer: Box<dyn ExternalPrinter>,
        /// The editor may still hold the terminal when the process ends.
        _restored: Restored,
    },
}

impl Dialogue {
    /// Reads from standard input; with an editor where that and standard output are a terminal,
    /// unless it shall be `plain`.
    pub fn open(prompt: &str, plain: bool) -> Self {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        if is_terminal
            && !plain
            && let Some(dialogue) = Self::with_editor(prompt)
        {
            return dialogue;
        }
        let (lines, typed) = mpsc::channel(TYPED_WAITING);
        // On a thread of its own: a blocked read cannot be called off, and must not hold up the end
        // of the process.
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                let failed = line.is_err();
                if lines.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        Self { typed, screen: Screen::Plain }
    }

    /// `None` where the terminal is too simple for an editor.
    fn with_editor(prompt: &str) -> Option<Self> {
        let restored = Restored(tcgetattr(io::stdin()).ok()?);
        let mut editor = DefaultEditor::new().ok()?;
        let printer = Box::new(editor.create_external_printer().ok()?);
        let (lines, typed) = mpsc::channel(TYPED_WAITING);
        let prompt = prompt.to_owned();
        std::thread::spawn(move || {
            loop {
                let line = match editor.readline(&prompt) {
                    Ok(line) => {
                        // A history that cannot be kept is no reason to end.
                        let _ = editor.add_history_entry(line.as_str());
                        Ok(line)
                    }
                    Err(ReadlineError::Eof | ReadlineError::Interrupted) => return,
                    Err(error) => Err(io::Error::other(error)),
                };
                let failed = line.is_err();
                if lines.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        Some(Self { typed, screen: Screen::Editor { printer, _restored: restored } })
    }

    /// Whether a line is being edited, which only [`Dialogue::show`] leaves whole.
    pub fn is_editor(&self) -> bool {
        matches!(self.screen, Screen::Editor { .. })
    }

    /// Whether what is typed can be seen without being shown again.
    pub fn echoes(&self) -> bool {
        self.is_editor() || io::stdin().is_terminal()
    }

    /// The next line that is typed; `None` at the end. It may be dropped while waiting and loses
    /// nothing.
    pub async fn next(&mut self) -> Option<io::Result<String>> {
        self.typed.recv().await
    }

    /// Shows a line.
    ///
    /// # Errors
    /// Standard output is closed or full.
    pub fn show(&mut self, text: &str) -> Result<(), Failure> {
        match &mut self.screen {
            Screen::Editor { printer, .. } => printer
                .print(format!("{text}\n"))
                .map_err(|error| Failure::failed(format!("cannot write to the terminal: {error}"))),
            Screen::Plain => {
                let mut out = io::stdout().lock();
                writeln!(out, "{text}")?;
                Ok(out.flush()?)
            }
        }
    }
}

/// The settings of a terminal, which come back when this is dropped.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}
