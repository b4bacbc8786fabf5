//! Fuzzing without a tool of its own: the cases of the tables, changed at random, from a seed that repeats them.
//!
//! [`mutate`] changes, [`readers`] tries the pure readers of the proxy, [`requests`] and [`responses`] try a running
//! one over sockets. Each says what it found as bytes that show it again.

pub mod cluster;
pub mod mutate;
pub mod readers;
pub mod requests;
pub mod responses;

use crate::conformance::case::{self, Step};

/// Longer cases are about limits, and change nothing when a byte does.
const LONGEST: usize = 2048;

/// The requests of the tables.
pub fn corpus_of_requests() -> Vec<Vec<u8>> {
    let cases = case::requests().into_iter().flat_map(|(_, cases)| cases);
    let bytes = cases.map(|case| case.send);
    bytes.filter(|bytes| bytes.len() <= LONGEST).collect()
}

/// The responses of the tables.
pub fn corpus_of_responses() -> Vec<Vec<u8>> {
    let cases = case::responses().into_iter().flat_map(|(_, cases)| cases);
    let sent = |step: &Step| match step {
        Step::Send(bytes) => bytes.clone(),
        _ => Vec::new(),
    };
    let bytes = cases.map(|case| case.script.iter().flat_map(sent).collect::<Vec<_>>());
    bytes.filter(|bytes| bytes.len() <= LONGEST).collect()
}

/// Headers of the PROXY protocol, each before a request.
pub fn corpus_of_proxy_headers() -> Vec<Vec<u8>> {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 19, 136, 1, 187];
    let binary = |begin: [u8; 4], body: &[u8]| [SIGNATURE, &begin, body].concat();
    let with_values = [&addresses[..], &[2, 0, 1, b'a', 4, 0, 2, 0, 0]].concat();
    let headers = [
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 5000 443\r\n".to_vec(),
        b"PROXY UNKNOWN anything\r\n".to_vec(),
        binary([0x21, 0x11, 0, 12], &addresses),
        binary([0x21, 0x11, 0, 21], &with_values),
        binary([0x21, 0x21, 0, 36], &[7; 36]),
        binary([0x21, 0x31, 0, 216], &[b'/'; 216]),
        binary([0x20, 0, 0, 3], b"abc"),
    ];
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    headers.map(|header| [&header[..], request].concat()).into()
}

/// A word of five letters that no table has, so that it can stand where a case says `hello`, and no two of a run
/// are alike.
pub fn mark(number: usize) -> String {
    const LETTERS: &[u8; 8] = b"qzxjkvwQ";
    let digit = |place: u32| char::from(LETTERS[(number >> (3 * place)) & 7]);
    (0..5).map(digit).collect()
}

/// `bytes` with `mark` for each `hello`.
fn marked(bytes: &[u8], mark: &str) -> Vec<u8> {
    let mut marked = bytes.to_vec();
    for at in 0..marked.len().saturating_sub(4) {
        if &marked[at..at + 5] == b"hello" {
            marked[at..at + 5].copy_from_slice(mark.as_bytes());
        }
    }
    marked
}

fn contains(bytes: &[u8], mark: &str) -> bool {
    bytes
        .windows(mark.len())
        .any(|window| window == mark.as_bytes())
}

/// One request as a reader sees it that takes any HTTP/1 from 1.1 on for HTTP/1.1 (RFC 9110, section 2.5).
fn request_as_http_1_1(bytes: &[u8]) -> Vec<u8> {
    let line = bytes.windows(3).position(|at| at.ends_with(b"\r\n"));
    let (line, rest) = bytes.split_at(line.map_or(bytes.len(), |at| at + 3));
    [&as_http_1_1(line), rest].concat()
}

/// The same of several in a row, but for what their bodies say of it.
fn as_http_1_1(bytes: &[u8]) -> Vec<u8> {
    let mut read = bytes.to_vec();
    for at in 0..read.len().saturating_sub(7) {
        if read[at..].starts_with(b"HTTP/1.") && (b'2'..=b'9').contains(&read[at + 7]) {
            read[at + 7] = b'1';
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_words_of_five_letters_that_differ() {
        let marks: std::collections::BTreeSet<_> = (0..32768).map(mark).collect();
        assert_eq!(marks.len(), 32768);
        assert!(marks.iter().all(|mark| mark.len() == 5));
        assert_eq!(marked(b"hello hell hello", "qqqqq"), b"qqqqq hell qqqqq");
    }

    #[test]
    fn versions_are_in_request_lines() {
        let read = request_as_http_1_1(b"\r\nGET / HTTP/1.4\r\n\r\nGET / HTTP/1.4\r\n");
        assert_eq!(read, b"\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.4\r\n");
        assert_eq!(request_as_http_1_1(b"HTTP/1.2"), b"HTTP/1.1");
    }

    #[test]
    fn the_corpus_is_that_of_the_tables() {
        assert!(corpus_of_requests().len() > 200);
        assert!(corpus_of_responses().len() > 100);
    }
}
