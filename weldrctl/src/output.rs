//! Where results go: stdout as tables or JSON; stderr for complaints and progress.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::args::Format;

pub(crate) mod card;
pub(crate) mod cluster;
pub(crate) mod event;
pub(crate) mod figures;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod servers;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod totals;
pub(crate) mod words;

use style::Paint;

/// The output of one command.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: io::Stdout,
    format: Format,
    terminal: bool,
    paint: Paint,
}

impl Output {
    /// Output to stdout in the format that was asked for.
    pub(crate) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            stdout,
            format,
            terminal,
            paint: Paint::for_terminal(terminal),
        }
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether tables have all their columns.
    pub(crate) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// Whether what is shown can be redrawn: text, on a terminal that can do it.
    pub(crate) fn is_live(&self) -> bool {
        self.terminal && !self.is_json() && !style::is_dumb()
    }

    /// How text is coloured.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints text as it is. The text ends its own lines.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Prints a document over several lines.
    pub(crate) fn document(&self, document: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(document)?;
        text.push('\n');
        self.text(&text)
    }

    /// Prints one object of a stream, on one line.
    pub(crate) fn record(&self, record: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string(record)?;
        text.push('\n');
        self.text(&text)
    }
}

/// Says on stderr what went wrong. That stderr is closed is not worth a word.
pub(crate) fn complain(sentence: &str) {
    _ = writeln!(io::stderr().lock(), "weldrctl: {sentence}");
}

/// A line on stderr that is written over itself; nothing where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Progress that shows nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            shown: false,
            terminal: io::stderr().is_terminal() && !style::is_dumb(),
        }
    }

    /// Replaces the line.
    pub(crate) fn show(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            _ = write!(io::stderr().lock(), "\r{text}\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
