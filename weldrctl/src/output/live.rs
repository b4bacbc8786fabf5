//! A terminal that is redrawn in place, and restored at the end.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use terminal_size::{Height, terminal_size};

/// Switches to the alternate screen, hides the cursor, and turns off line wrapping.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The whole terminal. When it is dropped, the terminal shows its former content again, and the last frame below it.
#[derive(Debug)]
pub(crate) struct Screen {
    last: String,
}

impl Screen {
    /// Takes over the terminal of stdout.
    pub(crate) fn enter() -> io::Result<Self> {
        write(ENTER)?;
        Ok(Self {
            last: String::new(),
        })
    }

    /// Replaces the shown text. Lines that do not fit at the bottom are not shown, only their number.
    pub(crate) fn draw(&mut self, frame: String) -> io::Result<()> {
        // The size of a pseudo-terminal is 0 until it is set.
        let height = terminal_size()
            .map(|(_, Height(rows))| usize::from(rows))
            .filter(|rows| *rows > 0);
        write(&paint_over(&frame, height.unwrap_or(usize::MAX)))?;
        self.last = frame;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is closed need not be restored.
        _ = write(LEAVE);
        _ = write(&self.last);
    }
}

/// The control sequences that draw `frame` from the top left corner. Each line overwrites the old one and clears its
/// rest, and at the end the rest of the screen is cleared. Nothing is cleared before it is drawn, so nothing flickers.
fn paint_over(frame: &str, height: usize) -> String {
    let lines: Vec<&str> = frame.lines().collect();
    let height = height.max(2);
    let fits = lines.len() <= height;
    let shown = if fits { lines.len() } else { height - 1 };
    let mut text = String::from("\x1b[H");
    for (index, line) in lines.iter().take(shown).enumerate() {
        if index > 0 {
            text.push_str("\r\n");
        }
        text.push_str(line);
        text.push_str("\x1b[K");
    }
    if !fits {
        _ = write!(text, "\r\n... {} more lines\x1b[K", lines.len() - shown);
    }
    text.push_str("\x1b[J");
    text
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_written_over_the_one_before() {
        assert_eq!(paint_over("a\nb\n", 10), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }

    #[test]
    fn a_frame_that_is_too_long_says_so_and_does_not_scroll() {
        assert_eq!(
            paint_over("a\nb\nc\nd\n", 3),
            "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n... 2 more lines\x1b[K\x1b[J"
        );
        assert_eq!(paint_over("a\nb\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }
}
