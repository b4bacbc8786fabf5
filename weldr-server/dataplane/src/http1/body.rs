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

/// The begin of a response body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BodyBegin {
    /// The data without its framing.
    pub(crate) data: Vec<u8>,
    /// Whether it is the whole body.
    pub(crate) is_whole: bool,
}

impl BodyBegin {
    /// Decodes the first bytes of a response body, as far as they go: a body whose framing is malformed is not passed on to
    /// a client.
    pub(crate) fn decode(
        bytes: &[u8],
        framing: ResponseFraming,
        strictness: Strictness,
    ) -> Result<Self, ChunkDefect> {
        let mut decoder = Decoder::of_response(framing, strictness);
        let mut buffer = Buffer::holding(bytes);
        let mut data = Vec::new();
        while let Step::Data(range) = decoder.step(&mut buffer)? {
            data.extend_from_slice(buffer.at(range));
        }
        let is_whole = decoder.is_done();
        Ok(Self { data, is_whole })
    }
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
        let decode = |bytes, framing| BodyBegin::decode(bytes, framing, Strictness::Lenient);
        let begin = |data: &[u8], is_whole| {
            let data = data.to_vec();
            Ok(BodyBegin { data, is_whole })
        };
        for (bytes, data, is_whole) in [
            (&b""[..], &b""[..], false),
            (b"3", b"", false),
            (b"3\r\nab", b"ab", false),
            (b"3\r\nabc\r\n1\r\nd", b"abcd", false),
            (b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1", b"abc", true),
        ] {
            let decoded = decode(bytes, ResponseFraming::Chunked);
            assert_eq!(decoded, begin(data, is_whole), "{bytes:?}");
        }
        for bytes in [&b"ZZ\r\n"[..], b"3\nabc", b"3\r\nabcd\r\n"] {
            assert!(
                decode(bytes, ResponseFraming::Chunked).is_err(),
                "{bytes:?}"
            );
            assert_eq!(
                decode(bytes, ResponseFraming::UntilClose),
                begin(bytes, false)
            );
        }
        assert_eq!(
            decode(b"abcd", ResponseFraming::Length(3)),
            begin(b"abc", true)
        );
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
