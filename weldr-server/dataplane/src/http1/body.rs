//! Decodes a body, independent of its framing.

use std::ops::Range;

use super::{
    super::buffer::Buffer,
    chunked::{ChunkDefect, Chunked},
    framing::{Framing, ResponseFraming},
    strictness::Strictness,
};

/// The decoder of one body.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// This many bytes are still to come.
    Length(u64),
    Chunked(Chunked),
    /// All bytes until the connection is closed.
    UntilClose,
}

/// The result of one step of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Data at this place of the buffer, which is consumed there.
    Data(Range<usize>),
    /// More bytes have to be read.
    NeedsMore,
    /// The end of the body.
    End,
}

/// Decodes the body of a request.
impl From<Framing> for Decoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new(Strictness::Strict)),
        }
    }
}

impl Decoder {
    /// Decodes the body of a response.
    pub(crate) fn of_response(framing: ResponseFraming, strictness: Strictness) -> Self {
        match framing {
            ResponseFraming::None { .. } => Self::Length(0),
            ResponseFraming::Length(length) => Self::Length(length),
            ResponseFraming::Chunked => Self::Chunked(Chunked::new(strictness)),
            ResponseFraming::UntilClose => Self::UntilClose,
        }
    }

    /// Decodes the next part of the body from `buffer`.
    pub(crate) fn step(&mut self, buffer: &mut Buffer) -> Result<Step, ChunkDefect> {
        let data = match self {
            Self::Length(0) => return Ok(Step::End),
            Self::Length(left) => {
                let available = buffer.filled().len() as u64;
                let taken = available.min(*left);
                *left -= taken;
                take(buffer, usize::try_from(taken).unwrap_or(usize::MAX))
            }
            Self::Chunked(chunked) if chunked.is_done() => return Ok(Step::End),
            Self::Chunked(chunked) => {
                let data = chunked.decode(buffer)?;
                if data.is_empty() && chunked.is_done() {
                    return Ok(Step::End);
                }
                data
            }
            Self::UntilClose => take(buffer, buffer.filled().len()),
        };
        Ok(if data.is_empty() {
            Step::NeedsMore
        } else {
            Step::Data(data)
        })
    }

    /// The number of data bytes that come next without framing between them.
    pub(crate) fn run(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(chunked) => chunked.run(),
            Self::UntilClose => u64::MAX,
        }
    }

    /// Records that so many bytes of that [`run`](Self::run) were moved without the decoder.
    pub(crate) fn skip(&mut self, bytes: u64) {
        match self {
            Self::Length(left) => *left = left.saturating_sub(bytes),
            Self::Chunked(chunked) => chunked.skip(bytes),
            Self::UntilClose => {}
        }
    }

    /// Whether the whole body was decoded.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Whether the end of the connection ends the body as it should.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    /// The trailer lines with the empty line that ends them; empty when the framing has no trailers.
    pub(crate) fn trailers(&self) -> &[u8] {
        match self {
            Self::Chunked(chunked) => chunked.trailers(),
            Self::Length(_) | Self::UntilClose => b"",
        }
    }
}

/// Checks the first bytes of a response body, as far as they go: a body whose framing is malformed is not passed on to a
/// client.
pub(crate) fn check_begin_of_body(
    bytes: &[u8],
    framing: ResponseFraming,
    strictness: Strictness,
) -> Result<(), ChunkDefect> {
    let mut decoder = Decoder::of_response(framing, strictness);
    let mut buffer = Buffer::holding(bytes);
    while let Step::Data(_) = decoder.step(&mut buffer)? {}
    Ok(())
}

fn take(buffer: &mut Buffer, length: usize) -> Range<usize> {
    let data = buffer.place(length);
    buffer.consume(length);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_begin_of_a_body_is_checked_as_far_as_it_goes() {
        let check = |bytes, framing| check_begin_of_body(bytes, framing, Strictness::Lenient);
        for bytes in [&b""[..], b"3", b"3\r\nab", b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1"] {
            assert_eq!(check(bytes, ResponseFraming::Chunked), Ok(()), "{bytes:?}");
        }
        for bytes in [&b"ZZ\r\n"[..], b"3\nabc", b"3\r\nabcd\r\n"] {
            assert!(check(bytes, ResponseFraming::Chunked).is_err(), "{bytes:?}");
            assert_eq!(check(bytes, ResponseFraming::UntilClose), Ok(()));
        }
    }

    #[test]
    fn a_length_takes_its_bytes_and_no_more() {
        let mut buffer = Buffer::holding(b"abcdeGET");
        let mut decoder = Decoder::from(Framing::Length(5));
        assert_eq!(decoder.step(&mut buffer), Ok(Step::Data(0..5)));
        assert_eq!(decoder.step(&mut buffer), Ok(Step::End));
        assert_eq!(buffer.filled(), b"GET");
    }

    #[test]
    fn chunks_end_after_their_last() {
        let mut buffer = Buffer::holding(b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\nGET");
        let mut decoder = Decoder::from(Framing::Chunked);
        let Ok(Step::Data(data)) = decoder.step(&mut buffer) else {
            panic!("there is data");
        };
        assert_eq!(buffer.at(data), b"abc");
        assert_eq!(decoder.step(&mut buffer), Ok(Step::End));
        assert_eq!(buffer.filled(), b"GET");
        assert_eq!(decoder.trailers(), b"\r\n");
    }

    #[test]
    fn what_ends_with_the_connection_takes_all() {
        let mut buffer = Buffer::holding(b"abc");
        let mut decoder = Decoder::of_response(ResponseFraming::UntilClose, Strictness::Lenient);
        assert_eq!(decoder.step(&mut buffer), Ok(Step::Data(0..3)));
        assert_eq!(decoder.step(&mut buffer), Ok(Step::NeedsMore));
        assert!(decoder.ends_with_connection() && !decoder.is_done());
    }
}
