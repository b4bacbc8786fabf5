//! The pure readers of the proxy, over bytes that have changed.

use weldr::{
    policy::{DesyncMode, HttpPolicy, Pseudonym},
    proxy::fuzzing::{self, Message, Rewritten},
};

use super::{mutate::Mutator, request_as_http_1_1};
use crate::conformance::{
    recorder::shortened,
    wire::{self, End},
};

/// Whether what the proxy makes of `bytes` as a request is what it must be; how far it came.
///
/// However many bytes come at a time, the reading is the same. What is accepted is no longer than what came, is
/// strictly one request when it is written, and has the same body then and by the strict reading of what came.
pub fn request(bytes: &[u8], piece: usize, desync_mode: DesyncMode) -> Result<Rewritten, String> {
    let strict = desync_mode == DesyncMode::Strict;
    let policy = HttpPolicy {
        desync_mode,
        ..HttpPolicy::default()
    };
    let reading = fuzzing::rewrite_request(bytes, bytes.len(), &policy);
    let Rewritten::Whole(message) = &reading else {
        let in_pieces = fuzzing::rewrite_request(bytes, piece, &policy);
        // What is wrong is seen sooner or later, but never as a message.
        return match in_pieces {
            Rewritten::Whole(_) | Rewritten::Here if reading != in_pieces => Err(format!(
                "{reading:?} at once, {in_pieces:?} in pieces of {piece}"
            )),
            _ => Ok(reading),
        };
    };
    same_in_pieces(message, fuzzing::rewrite_request(bytes, piece, &policy))?;
    // By another node: this one would find a loop.
    let next = HttpPolicy {
        pseudonym: Pseudonym::new(1),
        ..HttpPolicy::default()
    };
    let again = fuzzing::rewrite_request(&message.written, message.written.len(), &next);
    if again == Rewritten::Here {
        // The last hop that Max-Forwards allows.
        return Ok(reading);
    }
    written(message, again, wire::request(&message.written))?;
    if strict {
        let read = request_as_http_1_1(bytes);
        agrees(message, wire::request(&read))?;
    }
    Ok(reading)
}

/// Whether `bytes` are read alike as a header of the PROXY protocol, however many of them have come. Says whether they begin with
/// one.
pub fn proxy_header(bytes: &[u8]) -> Result<bool, String> {
    let whole = fuzzing::read_proxy_header(bytes);
    let needed = match &whole {
        Ok(Some(header)) => header.used,
        Ok(None) | Err(_) => bytes.len(),
    };
    if needed > bytes.len() {
        return Err(format!("{needed} bytes were consumed of {}", bytes.len()));
    }
    for come in 0..bytes.len() {
        let part = fuzzing::read_proxy_header(&bytes[..come]);
        let waits = come < needed && part == Ok(None);
        let is_early = come < needed && matches!(part, Ok(Some(_)));
        if is_early || !(waits || part == whole) {
            return Err(format!("{part:?} of {come} bytes, {whole:?} of all"));
        }
    }
    Ok(matches!(whole, Ok(Some(_))))
}

/// The same of `bytes` as a response, from a server of a pool with or without `strict_responses`.
///
/// What strict rules accept is read alike by lenient ones, and what is written is in correct form by either.
pub fn response(
    bytes: &[u8],
    piece: usize,
    to_head: bool,
    strict: bool,
) -> Result<Rewritten, String> {
    let method = if to_head { "HEAD" } else { "GET" };
    let reading = fuzzing::rewrite_response(bytes, bytes.len(), to_head, strict);
    let Rewritten::Whole(message) = &reading else {
        return match fuzzing::rewrite_response(bytes, piece, to_head, strict) {
            Rewritten::Whole(_) => Err(format!("{reading:?} at once, whole in pieces of {piece}")),
            _ => Ok(reading),
        };
    };
    same_in_pieces(
        message,
        fuzzing::rewrite_response(bytes, piece, to_head, strict),
    )?;
    if strict {
        let leniently = fuzzing::rewrite_response(bytes, bytes.len(), to_head, false);
        if leniently != reading {
            return Err(format!("strictly {reading:?}, leniently {leniently:?}"));
        }
    }
    // Strict rules see what was not mended.
    let again = fuzzing::rewrite_response(
        &message.written,
        message.written.len(),
        to_head,
        !has_status_above_599(message),
    );
    let end = Some(End::Closed);
    written(
        message,
        again,
        wire::response(&message.written, method, end),
    )?;
    // A response may have defects that the proxy mends, and that no strict reader takes.
    let strictly = wire::response(bytes, method, end);
    if matches!(strictly, wire::Reading::Whole(..)) {
        agrees(message, strictly)?;
    }
    Ok(reading)
}

/// Strict rules refuse such a status, and no other form of the response would be more correct.
fn has_status_above_599(message: &Message) -> bool {
    let hundreds = message.written.get("HTTP/1.1 ".len());
    hundreds.is_some_and(|&digit| digit > b'5')
}

fn same_in_pieces(message: &Message, in_pieces: Rewritten) -> Result<(), String> {
    match in_pieces {
        Rewritten::Whole(other) if other.used == message.used && other.body == message.body => {
            Ok(())
        }
        other => Err(format!("{message:?} at once, {other:?} in pieces")),
    }
}

fn written(message: &Message, again: Rewritten, strictly: wire::Reading) -> Result<(), String> {
    let all = message.written.len();
    let shown = || shortened(&message.written);
    match again {
        Rewritten::Whole(other) if other.used == all && other.body == message.body => {}
        other => return Err(format!("written as {}, read again as {other:?}", shown())),
    }
    match strictly {
        wire::Reading::Whole(other, used) if used == all && other.body == message.body => Ok(()),
        other => Err(format!(
            "written as {}, which strictly is {other:?}",
            shown()
        )),
    }
}

fn agrees(message: &Message, strictly: wire::Reading) -> Result<(), String> {
    match strictly {
        wire::Reading::Whole(other, used) if used == message.used && other.body == message.body => {
            Ok(())
        }
        other => Err(format!("{message:?} is strictly {other:?}")),
    }
}

/// What came of a run.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    /// Cases that were passed on.
    pub whole: usize,
    /// Others.
    pub others: usize,
    /// Headers of the PROXY protocol that were accepted.
    pub headers: usize,
}

/// Tries `cases` requests, and as many responses and headers of the PROXY protocol, from `seed`; the first that is wrong, as bytes that show it.
pub fn run(seed: u64, cases: usize) -> Result<Tally, String> {
    let mut requests = Mutator::new(super::corpus_of_requests(), seed);
    let mut responses = Mutator::new(super::corpus_of_responses(), seed);
    let mut headers = Mutator::new(super::corpus_of_proxy_headers(), seed);
    let mut tally = Tally::default();
    for case in 0..cases {
        let modes = [DesyncMode::Strict, DesyncMode::Monitor];
        let (bytes, piece) = (requests.changed(), 1 + requests.below(40));
        let found = request(&bytes, piece, modes[case % 2]);
        tally.count(&found.map_err(|why| shows(seed, case, "request", &bytes, &why))?);
        let (bytes, piece) = (responses.changed(), 1 + responses.below(40));
        let found = response(&bytes, piece, case % 8 == 0, case % 3 == 0);
        tally.count(&found.map_err(|why| shows(seed, case, "response", &bytes, &why))?);
        let bytes = headers.changed();
        let found = proxy_header(&bytes);
        let is_header = found.map_err(|why| shows(seed, case, "header", &bytes, &why))?;
        tally.headers += usize::from(is_header);
    }
    Ok(tally)
}

impl Tally {
    fn count(&mut self, reading: &Rewritten) {
        match reading {
            Rewritten::Whole(_) => self.whole += 1,
            Rewritten::Refused | Rewritten::Unfinished | Rewritten::Here => self.others += 1,
        }
    }
}

fn shows(seed: u64, case: usize, what: &str, bytes: &[u8], why: &str) -> String {
    format!(
        "seed {seed}, case {case}: the {what} \"{}\": {why}",
        bytes.escape_ascii()
    )
}
