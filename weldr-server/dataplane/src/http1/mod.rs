//! HTTP/1.1 on the wire: RFC 9112. Pure.
//!
//! A message is parsed from the received bytes, and its framing is written anew: the framing that a peer sent never decides
//! where a message ends on the other side. Ambiguous messages are refused, so that two parties cannot read the same bytes
//! as two different messages. A response with a defect that leaves only one meaning is corrected first, unless its pool is
//! strict.
//!
//! In reading order: `grammar` (the classes of bytes), `head` (lines and fields), `known` (names of fields), `strictness`,
//! `request` and `response` (their heads), `mend` (bringing responses into correct form), `framing` (how long a body is),
//! `chunked`, `extension` and `body` (decoding bodies), `forwarded` and `forwarded_client` (the client that a proxy names).

mod body;
mod chunked;
mod extension;
mod forwarded;
mod forwarded_client;
mod framing;
mod grammar;
mod head;
mod known;
mod mend;
mod request;
mod response;
mod strictness;

pub(crate) use body::{BodyBegin, Decoder, Step};
pub(crate) use chunked::ChunkDefect;
pub(crate) use forwarded::is_forwarded;
pub(crate) use forwarded_client::{ClientAddress, forwarded_client};
pub(crate) use framing::{Framing, FramingDefect, ResponseFraming, request_framing};
pub(crate) use grammar::{elements, is_field_value, is_host, is_target, is_token, parse_decimal};
pub use head::HeadLimits;
pub(crate) use head::{Field, HeadDefect, Span, end_of_head, first_line, parse_fields};
pub(crate) use known::Known;
pub(crate) use mend::mended_trailers;
pub(crate) use request::{RequestHead, TargetForm, Version, check_begin, parse_request};
pub(crate) use response::{
    MOST_INTERIM, ReadResponse, ResponseHead, ResponseHeadDefect, ResponseRules,
    end_of_response_head, read_response,
};
pub(crate) use strictness::Strictness;
