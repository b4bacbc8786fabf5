//! Why a request is not forwarded.

use crate::{
    http1::{ChunkDefect, FramingDefect, HeadDefect},
    snapshot::routes::Uncertain,
};

/// What is wrong with a request that is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum Refusal {
    #[error("the request is malformed")]
    Head(#[source] HeadDefect),
    #[error("nobody can say for certain where the body of the request ends")]
    Framing(#[source] FramingDefect),
    #[error("the body of the request is malformed")]
    Chunks(#[source] ChunkDefect),
    #[error("the request has no Host field")]
    NoHost,
    #[error("the request has more than one Host field")]
    SeveralHosts,
    #[error("the Host field is not a host with an optional port")]
    MalformedHost,
    #[error("it is not certain which rule is for the request")]
    Route(#[source] Uncertain),
    #[error("the method CONNECT is not supported: this is a gateway, not a tunnel")]
    Connect,
    #[error("a TRACE request has no body")]
    TraceContent,
    #[error(
        "the request is in a loop: by its Via field, it was at this node before, so a server leads back to it"
    )]
    Loop,
    #[error(
        "the request seems to be in a loop: by its Via field, it was at {limit} nodes of Weldr or more"
    )]
    TooManyNodes { limit: usize },
    #[error("the body of the request is larger than the limit of {limit} bytes")]
    BodyTooLarge { limit: u64 },
}
