//! Decodes the chunked transfer coding: RFC 9112, section 7.1.
//!
//! The decoder is strict, because lenient decoders allow request smuggling: sizes are digits and nothing else, lines end with
//! CR LF, and extensions are bounded and dropped. In a response that is read leniently, white space may follow the size
//! and the text of an extension is free, because both leave only one meaning.

use std::ops::Range;

use super::{super::buffer::Buffer, extension::Extension, strictness::Strictness};

/// Maximum number of hexadecimal digits of a size, enough for 64 bits.
const MOST_DIGITS: u8 = 16;
/// Maximum bytes of extensions in a whole body. No client or server uses them; an attacker may, to cause work.
const MOST_EXTENSION: u32 = 4096;
/// Maximum bytes of trailers.
const MOST_TRAILERS: usize = 8192;

/// A defect of the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkDefect {
    #[error("the size of a chunk is not a hexadecimal number")]
    Size,
    #[error("a chunk is larger than a body can be")]
    TooLarge,
    #[error("a line of the chunked coding does not end with CR LF")]
    LineEnd,
    #[error("a chunk does not end where its size says")]
    Length,
    #[error("an extension of a chunk is malformed")]
    Extension,
    #[error("the extensions of the chunks are too long")]
    Extensions,
    #[error("the trailers are too long")]
    Trailers,
    #[error("the trailers are malformed, or have fields that frame or route a message")]
    TrailerField,
}

/// The position of the next byte in the coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    Size {
        value: u64,
        digits: u8,
    },
    /// In white space after the size.
    SpaceAfterSize {
        value: u64,
    },
    Extension {
        value: u64,
        place: Extension,
    },
    SizeEnd {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataEnd,
    DataEndLf,
    Trailers,
    Done,
}

/// The decoder of one body.
#[derive(Debug)]
pub(crate) struct Chunked {
    strictness: Strictness,
    state: ChunkState,
    extension: u32,
    /// The lines after the last chunk, with the empty line.
    trailers: Vec<u8>,
}

const SIZE: ChunkState = ChunkState::Size {
    value: 0,
    digits: 0,
};

impl Chunked {
    pub(super) fn new(strictness: Strictness) -> Self {
        Self {
            strictness,
            state: SIZE,
            extension: 0,
            trailers: Vec::new(),
        }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// The lines of the trailers, with the empty one that ends them.
    pub(super) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Uses up what `buffer` holds of the body. What is data is moved together; its place is returned, and may be
    /// empty. Bytes behind the body stay where they are.
    pub(super) fn decode(&mut self, buffer: &mut Buffer) -> Result<Range<usize>, ChunkDefect> {
        let mut data: Option<Range<usize>> = None;
        while self.state != ChunkState::Done && !buffer.is_empty() {
            if let ChunkState::Data { left } = self.state {
                let length = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.filled().len());
                let part = buffer.place(length);
                buffer.consume(length);
                data = Some(match data {
                    None => part,
                    Some(before) => {
                        buffer.shift(part, before.end);
                        before.start..before.end + length
                    }
                });
                self.skip(length as u64);
            } else {
                let byte = buffer.filled()[0];
                self.step(byte)?;
                buffer.consume(1);
            }
        }
        Ok(data.unwrap_or(0..0))
    }

    /// Bytes of data that are left in the current chunk.
    pub(super) fn run(&self) -> u64 {
        match self.state {
            ChunkState::Data { left } => left,
            _ => 0,
        }
    }

    /// So many bytes of that [`run`](Self::run) were taken.
    pub(super) fn skip(&mut self, bytes: u64) {
        if let ChunkState::Data { left } = self.state {
            self.state = match left.saturating_sub(bytes) {
                0 => ChunkState::DataEnd,
                left => ChunkState::Data { left },
            };
        }
    }

    /// One byte that is not data.
    fn step(&mut self, byte: u8) -> Result<(), ChunkDefect> {
        self.state = match (self.state, byte) {
            (
                ChunkState::Size { digits: 1.., value } | ChunkState::SpaceAfterSize { value },
                b';',
            ) => {
                let place = Extension::first(self.strictness);
                ChunkState::Extension { value, place }
            }
            (ChunkState::Size { value, digits }, _) => size(value, digits, byte)?,
            (ChunkState::SpaceAfterSize { value }, b' ' | b'\t') => {
                self.count_extension()?;
                ChunkState::SpaceAfterSize { value }
            }
            (ChunkState::SpaceAfterSize { value }, b'\r')
                if self.strictness == Strictness::Lenient =>
            {
                ChunkState::SizeEnd { value }
            }
            (ChunkState::SpaceAfterSize { .. }, _) => return Err(ChunkDefect::Size),
            (ChunkState::Extension { value, place }, b'\r') if place.may_end() => {
                ChunkState::SizeEnd { value }
            }
            (ChunkState::Extension { value, place }, _) => {
                self.count_extension()?;
                let place = place.after(byte).ok_or(ChunkDefect::Extension)?;
                ChunkState::Extension { value, place }
            }
            (ChunkState::SizeEnd { value: 0 }, b'\n') => ChunkState::Trailers,
            (ChunkState::SizeEnd { value }, b'\n') => ChunkState::Data { left: value },
            (ChunkState::DataEnd, b'\r') => ChunkState::DataEndLf,
            (ChunkState::DataEndLf, b'\n') => SIZE,
            (ChunkState::DataEnd, _) => return Err(ChunkDefect::Length),
            (ChunkState::SizeEnd { .. } | ChunkState::DataEndLf, _) => {
                return Err(ChunkDefect::LineEnd);
            }
            (ChunkState::Trailers, _) => self.trailer(byte)?,
            // Neither is asked for single bytes.
            (state @ (ChunkState::Data { .. } | ChunkState::Done), _) => state,
        };
        Ok(())
    }

    fn count_extension(&mut self) -> Result<(), ChunkDefect> {
        self.extension += 1;
        if self.extension > MOST_EXTENSION {
            return Err(ChunkDefect::Extensions);
        }
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<ChunkState, ChunkDefect> {
        let after_cr = self.trailers.last() == Some(&b'\r');
        if after_cr != (byte == b'\n') {
            return Err(ChunkDefect::LineEnd);
        }
        if self.trailers.len() == MOST_TRAILERS {
            return Err(ChunkDefect::Trailers);
        }
        self.trailers.push(byte);
        let ended = self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n");
        Ok(if ended {
            ChunkState::Done
        } else {
            ChunkState::Trailers
        })
    }
}

fn size(value: u64, digits: u8, byte: u8) -> Result<ChunkState, ChunkDefect> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ if digits == 0 => return Err(ChunkDefect::Size),
        b'\r' => return Ok(ChunkState::SizeEnd { value }),
        b' ' | b'\t' => return Ok(ChunkState::SpaceAfterSize { value }),
        b'\n' => return Err(ChunkDefect::LineEnd),
        _ => return Err(ChunkDefect::Size),
    };
    if digits == MOST_DIGITS || value >> 60 != 0 {
        return Err(ChunkDefect::TooLarge);
    }
    Ok(ChunkState::Size {
        value: value << 4 | u64::from(digit),
        digits: digits + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, its trailers, and what comes after it, when it comes in parts of `step` bytes.
    fn decoded(wire: &str, step: usize) -> Result<(String, String, String), ChunkDefect> {
        decoded_with(Strictness::Strict, wire, step)
    }

    fn decoded_with(
        strictness: Strictness,
        wire: &str,
        step: usize,
    ) -> Result<(String, String, String), ChunkDefect> {
        let mut chunked = Chunked::new(strictness);
        let mut body = Vec::new();
        let mut rest = Vec::new();
        for part in wire.as_bytes().chunks(step) {
            let mut buffer = Buffer::holding(part);
            let data = chunked.decode(&mut buffer)?;
            body.extend_from_slice(buffer.at(data));
            rest.extend_from_slice(buffer.filled());
        }
        assert!(chunked.is_done(), "{wire:?} is not over");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(&body), text(chunked.trailers()), text(&rest)))
    }

    #[test]
    fn chunks_in_parts_of_any_size() {
        let wire =
            "3\r\nabc\r\n00A;x=\"y;z\" ; q\r\n0123456789\r\n1 ;a\r\n!\r\n0\r\nA: b\r\n\r\nGET";
        for step in 1..=wire.len() {
            let (body, trailers, rest) = decoded(wire, step).unwrap();
            assert_eq!(body, "abc0123456789!", "{step}");
            assert_eq!(trailers, "A: b\r\n\r\n");
            assert_eq!(rest, "GET");
        }
        assert_eq!(
            decoded("0\r\n\r\n", 1),
            Ok((String::new(), "\r\n".into(), String::new()))
        );
    }

    #[test]
    fn defects_have_names() {
        for (wire, defect) in [
            ("\r\n", ChunkDefect::Size),
            ("x\r\n", ChunkDefect::Size),
            ("0x3\r\nabc", ChunkDefect::Size),
            ("+3\r\nabc", ChunkDefect::Size),
            ("-1\r\n", ChunkDefect::Size),
            (" 3\r\nabc", ChunkDefect::Size),
            ("3 \r\nabc", ChunkDefect::Size),
            ("3\nabc", ChunkDefect::LineEnd),
            ("3\r\rabc", ChunkDefect::LineEnd),
            ("3\r\nabcd\r\n", ChunkDefect::Length),
            ("3\r\nabc\n", ChunkDefect::Length),
            ("3\r\nabc\r0", ChunkDefect::LineEnd),
            ("3;\r\nabc", ChunkDefect::Extension),
            ("3;a\nabc", ChunkDefect::Extension),
            ("3;a\0\r\nabc", ChunkDefect::Extension),
            ("3;a \r\nabc", ChunkDefect::Extension),
            ("3;a=\r\nabc", ChunkDefect::Extension),
            ("3;a=\"\r\n\"\r\nabc", ChunkDefect::Extension),
            ("0\r\nA: b\n\n", ChunkDefect::LineEnd),
            ("0\r\nA: b\rc\r\n\r\n", ChunkDefect::LineEnd),
            ("10000000000000000\r\n", ChunkDefect::TooLarge),
            ("00000000000000003\r\nabc", ChunkDefect::TooLarge),
        ] {
            for step in [1, wire.len()] {
                assert_eq!(decoded(wire, step), Err(defect), "{wire:?}");
            }
        }
    }

    #[test]
    fn a_lenient_reader_passes_over_what_has_one_meaning() {
        let wire = "3 \r\nabc\r\n2\t;a=\"\r\nde\r\n1;\r\nf\r\n0 \t\r\n\r\nHTTP";
        for step in 1..=wire.len() {
            let (body, _, rest) = decoded_with(Strictness::Lenient, wire, step).unwrap();
            assert_eq!((body.as_str(), rest.as_str()), ("abcdef", "HTTP"), "{step}");
        }
        for wire in [
            " 3\r\nabc",
            "3 3\r\nabc",
            "3 \nabc",
            "3 \r\rabc",
            "3;a\nabc",
            "3;a\rb\r\nabc",
            "3;a\0\r\nabc",
            "3\r\nabc \r\n",
        ] {
            assert!(
                decoded_with(Strictness::Lenient, wire, 1).is_err(),
                "{wire:?}"
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = "a".repeat(10_000);
        let extension = format!("1;{long}\r\n");
        assert_eq!(decoded(&extension, 100), Err(ChunkDefect::Extensions));
        let spaces = format!("1{}\r\nx\r\n", " ".repeat(10_000));
        assert_eq!(
            decoded_with(Strictness::Lenient, &spaces, 100),
            Err(ChunkDefect::Extensions)
        );
        let many = "1;abcdefgh\r\nx\r\n".repeat(1000);
        assert_eq!(decoded(&many, 100), Err(ChunkDefect::Extensions));
        let trailers = format!("0\r\nA: {long}\r\n\r\n");
        assert_eq!(decoded(&trailers, 100), Err(ChunkDefect::Trailers));
    }
}
