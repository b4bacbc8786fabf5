//! HTTP/1.1 on the wire, strictly: RFC 9112. Pure.
//!
//! A message is read as bytes that have come and handed on as bytes that we wrote: nothing that a peer sent
//! decides where a message ends on the other side, but what was parsed here. What has two readings is refused,
//! never repaired, so that no two parties can see two different messages in the same bytes.
//!
//! In reading order: `grammar` (the classes of bytes), `head` (lines and fields), `known` (names of fields), `request` and
//! `response` (their heads), `framing` (how long a body is), `chunked`, `extension` and `body` (taking bodies out of
//! their framing).

mod body;
mod chunked;
mod extension;
mod framing;
mod grammar;
mod head;
mod known;
mod request;
mod response;

pub(super) use body::{Decoder, Step};
pub(super) use chunked::ChunkDefect;
pub(super) use framing::{AnswerFraming, Framing, FramingDefect, answer_framing, request_framing};
pub(super) use grammar::{elements, is_host, is_token, parse_decimal, token_length,
};
pub(super) use head::{Field, HeadDefect, HeadLimits, Span, end_of_head, first_line, parse_fields};
pub(super) use known::Known;
pub(super) use request::{RequestHead, TargetForm, Version, check_begin, parse_request};
pub(super) use response::{ResponseHead, parse_response};
