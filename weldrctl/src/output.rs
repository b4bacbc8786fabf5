//! Output: results as tables or JSON on stdout, errors and progress on stderr.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::args::Format;

pub(crate) mod acme;
pub(crate) mod card;
pub(crate) mod certificates;
pub(crate) mod cluster;
pub(crate) mod event;
pub(crate) mod figures;
pub(crate) mod findings;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod object_stats;
pub(crate) mod objects;
pub(crate) mod pools;
pub(crate) mod routing;
pub(crate) mod servers;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod tokens;
pub(crate) mod totals;
pub(crate) mod voters;
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
    /// Output to stdout in the given format.
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

    /// Whether tables have all columns.
    pub(crate) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// Whether the output can be redrawn in place: text, on a terminal that supports it.
    pub(crate) fn is_live(&self) -> bool {
        self.terminal && !self.is_json() && !style::is_dumb()
    }

    /// The colours of text.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints text as it is. It contains its line ends.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        let mut stdout = self.stdout.lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Prints a document on several lines.
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

/// Prints an error on stderr. Errors of stderr itself are ignored.
pub(crate) fn complain(sentence: &str) {
    _ = writeln!(io::stderr().lock(), "weldrctl: {sentence}");
}

/// A progress line on stderr that is overwritten in place. Prints nothing if stderr is not a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    shown: bool,
    terminal: bool,
}

impl Progress {
    /// Progress that has not been shown yet.
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
