//! The readers of HTTP without a socket, for a fuzzer: what they make of any bytes, in pieces of any size.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{
    buffer::{Buffer, Buffers},
    http1::{
        Decoder, Framing, HeadLimits, ReadResponse, ResponseRules, Step, Strictness, Version,
        check_begin, end_of_head, end_of_response_head, parse_request, read_response,
    },
    policy::HttpPolicy,
    proxy_protocol::{self, Parsed},
};

use super::{
    headers::{
        ClientFraming, ConnectionOptions, ForwardingContext, Ids, Peer, ResponseRewrite, Scheme,
        accept, write, write_interim, write_response,
    },
    message::RequestFacts,
    trailers::Trailers,
};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 32 * 1024,
    fields: 128,
};

/// The result for some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewritten {
    /// They are not a message that is forwarded.
    Refused,
    /// They may be the begin of a message.
    Unfinished,
    /// They are a request to the proxy itself.
    Here,
    /// They begin with a message.
    Whole(Message),
}

/// A message that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The number of bytes that it consumed.
    pub used: usize,
    /// Its body, without framing.
    pub body: Vec<u8>,
    /// The whole message as it is forwarded.
    pub written: Vec<u8>,
}

/// A header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The number of bytes that it consumed.
    pub used: usize,
    /// The client that it names.
    pub client: Option<SocketAddr>,
}

/// Reads the header of the PROXY protocol that `bytes` begin with; `None`: it is not complete.
///
/// # Errors
/// Says why they do not begin with a header.
pub fn read_proxy_header(bytes: &[u8]) -> Result<Option<ProxyHeader>, String> {
    match proxy_protocol::parse(bytes) {
        Ok(Parsed::NeedsMore) => Ok(None),
        Ok(Parsed::Header { consumed, ends }) => Ok(Some(ProxyHeader {
            used: consumed,
            client: ends.map(|ends| ends.source),
        })),
        Err(defect) => Err(defect.to_string()),
    }
}

/// Reads a request from the begin of `bytes`, of which `piece` arrive at a time.
pub fn rewrite_request(bytes: &[u8], piece: usize, policy: &HttpPolicy) -> Rewritten {
    let mut input = Input::new(bytes, piece);
    let head = match input.head(true) {
        Ok(Some(head)) => head,
        Ok(None) => return Rewritten::Unfinished,
        Err(()) => return Rewritten::Refused,
    };
    let mut fields = Vec::new();
    let Ok(request) = parse_request(&head, LIMITS, &mut fields) else {
        return Rewritten::Refused;
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
    let context = ForwardingContext {
        peer: &Peer::new(address, Scheme::Http, policy),
        local: Some(address),
        policy,
        facts: RequestFacts::of(&head, &request, &fields),
        ids: Ids::new(1, 1),
    };
    match accept(&head, &request, &fields, &context) {
        Err(_) => Rewritten::Refused,
        Ok(accepted) if accepted.to_proxy(&head, &request, &fields).is_some() => Rewritten::Here,
        Ok(accepted) => {
            let accepted = (&accepted, None);
            let request = write(&head, &request, &fields, &context, accepted, Vec::new());
            let chunked = request.framing == Framing::Chunked;
            let decoder = Decoder::from(request.framing);
            input.body(decoder, request.head, chunked, Trailers::OfRequest)
        }
    }
}

/// Reads a response from `bytes`, of which `piece` arrive at a time and after which the server closes. An interim
/// response is a message of its own. `strict`: as for a pool whose responses are read strictly.
pub fn rewrite_response(bytes: &[u8], piece: usize, to_head: bool, strict: bool) -> Rewritten {
    let rules = ResponseRules {
        limits: LIMITS,
        strictness: Strictness::from(strict),
    };
    let mut input = Input::new(bytes, piece);
    let head = match input.head(false) {
        Ok(Some(head)) => head,
        Ok(None) => return Rewritten::Unfinished,
        Err(()) => return Rewritten::Refused,
    };
    let mut fields = Vec::new();
    let Ok(response) = read_response(&head, to_head, rules, &mut fields) else {
        return Rewritten::Refused;
    };
    let ReadResponse {
        head,
        line,
        framing,
        ..
    } = response;
    let mut written = Vec::new();
    if line.is_interim() {
        write_interim(&mut written, &head, &line, &fields);
        return Rewritten::Whole(Message {
            used: input.used(),
            body: Vec::new(),
            written,
        });
    }
    let client = ClientFraming::of(framing, line.status, to_head, Version::Http11);
    let how = ResponseRewrite {
        options: &ConnectionOptions::of(&head, &fields),
        framing: client,
        client: Version::Http11,
        close: false,
        switches: line.status == 101,
        date: None,
    };
    let chunked = client == ClientFraming::Chunked;
    write_response(&mut written, &head, &line, &fields, &how);
    input.body(
        Decoder::of_response(framing, rules.strictness),
        written,
        chunked,
        Trailers::OfResponse {
            wanted: true,
            strictness: rules.strictness,
        },
    )
}

/// Bytes that come in pieces.
struct Input<'a> {
    bytes: &'a [u8],
    read: usize,
    piece: usize,
    buffer: Buffer,
}

impl<'a> Input<'a> {
    fn new(bytes: &'a [u8], piece: usize) -> Self {
        let mut buffer = Buffer::default();
        Buffers::default().grow(&mut buffer, bytes.len().max(1));
        Self {
            bytes,
            read: 0,
            piece: piece.max(1),
            buffer,
        }
    }

    fn used(&self) -> usize {
        self.read - self.buffer.filled().len()
    }

    /// False when nothing more comes.
    fn more(&mut self) -> bool {
        let rest = &self.bytes[self.read..];
        let piece = &rest[..rest.len().min(self.piece)];
        self.buffer.space()[..piece.len()].copy_from_slice(piece);
        self.buffer.filled_more(piece.len());
        self.read += piece.len();
        !piece.is_empty()
    }

    /// Takes a head. `None`: its end does not come.
    fn head(&mut self, of_request: bool) -> Result<Option<Vec<u8>>, ()> {
        let mut searched = 0;
        loop {
            let filled = self.buffer.filled();
            let end = if of_request {
                end_of_head(filled, &mut searched).map_err(drop)?
            } else {
                end_of_response_head(filled, &mut searched, LIMITS).map_err(drop)?
            };
            if end.unwrap_or(filled.len()) > LIMITS.bytes {
                return Err(());
            }
            if let Some(end) = end {
                let head = filled[..end].to_vec();
                self.buffer.consume(end);
                return Ok(Some(head));
            }
            if of_request {
                check_begin(filled).map_err(drop)?;
            }
            if !self.more() {
                return Ok(None);
            }
        }
    }

    /// Takes a body, and writes it behind `written`.
    fn body(
        mut self,
        mut decoder: Decoder,
        mut written: Vec<u8>,
        chunked: bool,
        trailers: Trailers,
    ) -> Rewritten {
        let mut body = Vec::new();
        loop {
            match decoder.step(&mut self.buffer) {
                Err(_) => return Rewritten::Refused,
                Ok(Step::Data(place)) => {
                    let data = self.buffer.at(place);
                    body.extend_from_slice(data);
                    if chunked {
                        written.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    }
                    written.extend_from_slice(data);
                    if chunked {
                        written.extend_from_slice(b"\r\n");
                    }
                }
                Ok(Step::NeedsMore) if self.more() => {}
                Ok(Step::NeedsMore) if !decoder.ends_with_connection() => {
                    return Rewritten::Unfinished;
                }
                Ok(Step::NeedsMore | Step::End) => break,
            }
        }
        if chunked {
            let kept = match decoder.trailers() {
                b"" => Ok(Vec::new()),
                lines => trailers.kept(lines),
            };
            let Ok(kept) = kept else {
                return Rewritten::Refused;
            };
            written.extend_from_slice(b"0\r\n");
            written.extend_from_slice(&kept);
            written.extend_from_slice(b"\r\n");
        }
        Rewritten::Whole(Message {
            used: self.used(),
            body,
            written,
        })
    }
}
