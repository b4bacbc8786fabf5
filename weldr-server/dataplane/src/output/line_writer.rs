//! Whole lines, one after the other.

use std::io::{self, Write};

use memchr::memchr_iter;

/// Writes lines, and ends a line of which only a part was written before it writes the next one.
#[derive(Debug)]
pub struct LineWriter<W> {
    output: W,
    /// Whether the output ends within a line.
    is_cut: bool,
}

/// Lines of which not all was written.
#[derive(Debug, thiserror::Error)]
#[error("{lines} lines cannot be written")]
pub struct Unwritten {
    /// How many; one of them may have been written in part.
    pub lines: u64,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl<W: Write> LineWriter<W> {
    /// Writes to `output`, which ends within a line if `is_cut`.
    pub fn new(output: W, is_cut: bool) -> Self {
        Self { output, is_cut }
    }

    /// What it writes to.
    pub fn output(&self) -> &W {
        &self.output
    }

    /// Writes `lines`, each of which ends with a line feed.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let unwritten = |left: &[u8], source| Unwritten {
            lines: memchr_iter(b'\n', left).count() as u64,
            source,
        };
        if self.is_cut {
            self.write_some(b"\n")
                .map_err(|error| unwritten(lines, error))?;
        }
        let mut left = lines;
        while !left.is_empty() {
            let written = self
                .write_some(left)
                .map_err(|error| unwritten(left, error))?;
            left = left.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes a part of `bytes`, at least one, and gives its length.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.output.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.is_cut = bytes.get(written - 1) != Some(&b'\n');
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    #[derive(Debug, Default)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        interrupted: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            self.room -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lost(result: Result<(), Unwritten>) -> u64 {
        result.map_or_else(|unwritten| unwritten.lines, |()| 0)
    }

    #[test]
    fn a_line_that_was_cut_is_ended_before_the_next() {
        let mut writer = LineWriter::new(Disk::default(), false);
        writer.output.room = 7;
        assert_eq!(lost(writer.write(b"first\nsecond\nthird\n")), 2);
        assert_eq!(writer.output.bytes, b"first\ns");
        assert_eq!(lost(writer.write(b"fourth\n")), 1);
        writer.output.room = 1;
        assert_eq!(lost(writer.write(b"fifth\n")), 1, "there is room to end it");
        writer.output.room = 100;
        assert_eq!(lost(writer.write(b"sixth\n")), 0);
        assert_eq!(writer.output.bytes, b"first\ns\nsixth\n");
    }

    #[test]
    fn a_cut_between_two_lines_needs_no_repair() {
        let mut writer = LineWriter::new(Disk::default(), false);
        writer.output.room = 6;
        assert_eq!(lost(writer.write(b"first\nsecond\n")), 1);
        writer.output.room = 100;
        assert_eq!(lost(writer.write(b"third\n")), 0);
        assert_eq!(writer.output.bytes, b"first\nthird\n");
    }

    #[test]
    fn an_output_that_ended_within_a_line_is_repaired_too() {
        let mut writer = LineWriter::new(Disk::default(), true);
        writer.output.room = 100;
        assert_eq!(lost(writer.write(b"next\n")), 0);
        assert_eq!(writer.output.bytes, b"\nnext\n");
    }
}
