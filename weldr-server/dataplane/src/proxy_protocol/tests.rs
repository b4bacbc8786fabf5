use std::net::SocketAddr;

use proptest::prelude::*;

use super::{v1::LONGEST, v2::MOST, *};
use crate::model::SendProxyProtocol;

const SIGNATURE: &[u8] = v2::SIGNATURE;

fn ends(source: &str, destination: &str) -> Ends {
    Ends {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn v4() -> Ends {
    ends("192.0.2.1:5000", "198.51.100.2:443")
}

fn v6() -> Ends {
    ends("[2001:db8::1]:5000", "[2001:db8::2]:443")
}

/// A header of version 2 with this command, family and body.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

/// The addresses of [`v4`].
const ADDRESSES: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 1, 0xbb];

fn with_values(values: &[&[u8]]) -> Vec<u8> {
    let body = [&[ADDRESSES], values].concat().concat();
    binary(0x21, 0x11, &body)
}

/// A header with two values, of which the first is its checksum.
fn with_checksum(change: u8) -> Vec<u8> {
    let zeros = with_values(&[&[3, 0, 4, 0, 0, 0, 0], &[4, 0, 1, 9]]);
    let sum = checksum::crc32c(&[&zeros]) ^ u32::from(change);
    let sum = [&[3, 0, 4][..], &sum.to_be_bytes()].concat();
    with_values(&[&sum, &[4, 0, 1, 9]])
}

fn accepted() -> Vec<(Vec<u8>, Option<Ends>)> {
    let unix = binary(0x21, 0x31, &[b'a'; 216]);
    let longest_v6 = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let text = |line: &str| line.as_bytes().to_vec();
    vec![
        (
            text("PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n"),
            Some(v4()),
        ),
        (
            text("PROXY TCP6 2001:db8::1 2001:db8::2 5000 443\r\n"),
            Some(v6()),
        ),
        (
            text(&format!(
                "PROXY TCP6 {longest_v6} {longest_v6} 65535 65535\r\n"
            )),
            Some(ends(
                &format!("[{longest_v6}]:65535"),
                &format!("[{longest_v6}]:65535"),
            )),
        ),
        (
            text("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"),
            Some(ends("0.0.0.0:0", "0.0.0.0:0")),
        ),
        (text("PROXY UNKNOWN\r\n"), None),
        (
            text(&format!(
                "PROXY UNKNOWN {longest_v6} {longest_v6} 65535 65535\r\n"
            )),
            None,
        ),
        (b"PROXY UNKNOWN \xff\x00\r\r\n".to_vec(), None),
        (binary(0x21, 0x11, ADDRESSES), Some(v4())),
        (header(SendProxyProtocol::V2, v6()), Some(v6())),
        (with_values(&[&[1, 0, 2, b'h', b'2']]), Some(v4())),
        (with_values(&[&[4, 0, 0], &[4, 0, 0]]), Some(v4())),
        (with_checksum(0), Some(v4())),
        (binary(0x20, 0, b""), None),
        // LOCAL: whatever it carries is skipped.
        (binary(0x20, 0, b"anything"), None),
        (binary(0x20, 0x11, b"short"), None),
        (binary(0x20, 0xff, b""), None),
        (binary(0x20, 0, &vec![7; usize::from(MOST)]), None),
        (binary(0x21, 0, b"anything"), None),
        (binary(0x21, 0x12, ADDRESSES), None),
        (unix, None),
    ]
}

fn refused() -> Vec<(Vec<u8>, Defect)> {
    let text = |line: &str| line.as_bytes().to_vec();
    let line = |rest: &str| text(&format!("PROXY {rest}\r\n"));
    vec![
        (text("GET / HTTP/1.1\r\n"), Defect::Missing),
        (text("proxy TCP4"), Defect::Missing),
        (text("PROXY\tTCP4"), Defect::Missing),
        (vec![22, 3, 1, 2, 0], Defect::Missing),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Defect::Missing),
        (vec![0], Defect::Missing),
        (
            [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 200]].concat(),
            Defect::LineTooLong,
        ),
        (text("PROXY UNKNOWN\n"), Defect::LineEnd),
        (line(""), Defect::Protocol),
        (line("UNKNOWNS"), Defect::Protocol),
        (line("UDP4 192.0.2.1 198.51.100.2 1 2"), Defect::Protocol),
        (line("tcp4 192.0.2.1 198.51.100.2 1 2"), Defect::Protocol),
        (line(" TCP4 192.0.2.1 198.51.100.2 1 2"), Defect::Protocol),
        (line("TCP4"), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 1"), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 1 2 "), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 1 2 3"), Defect::Line),
        (line("TCP4 192.0.2.1  198.51.100.2 1 2"), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 1 65536"), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 01 2"), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 +1 2"), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 -1 2"), Defect::Line),
        (line("TCP4 192.0.02.1 198.51.100.2 1 2"), Defect::Line),
        (line("TCP4 2001:db8::1 2001:db8::2 1 2"), Defect::Line),
        (line("TCP6 192.0.2.1 198.51.100.2 1 2"), Defect::Line),
        (line("TCP6 fe80::1%eth0 fe80::2 1 2"), Defect::Line),
        (line("TCP4 192.0.2.1 198.51.100.2 1 2\r"), Defect::Line),
        (b"PROXY TCP4 \xff\r\n".to_vec(), Defect::Line),
        (binary(0x11, 0x11, ADDRESSES), Defect::Version(1)),
        (binary(0x31, 0x11, ADDRESSES), Defect::Version(3)),
        (binary(0x22, 0x11, ADDRESSES), Defect::Command(2)),
        (binary(0x21, 0x41, ADDRESSES), Defect::Family(0x41)),
        (binary(0x21, 0x13, ADDRESSES), Defect::Family(0x13)),
        (
            binary(0x21, 0x11, &vec![0; usize::from(MOST) + 1]),
            Defect::TooLong(MOST + 1),
        ),
        (
            binary(0x20, 0, &vec![0; usize::from(MOST) + 1]),
            Defect::TooLong(MOST + 1),
        ),
        (binary(0x21, 0x11, &ADDRESSES[1..]), Defect::TooShort(11)),
        (binary(0x21, 0x21, ADDRESSES), Defect::TooShort(12)),
        (binary(0x21, 0x31, ADDRESSES), Defect::TooShort(12)),
        (with_values(&[&[1]]), Defect::Tlv),
        (with_values(&[&[1, 0]]), Defect::Tlv),
        (with_values(&[&[1, 0, 2, b'h']]), Defect::Tlv),
        (with_values(&[&[3, 0, 3, 0, 0, 0]]), Defect::Checksum),
        (with_checksum(1), Defect::Checksum),
    ]
}

#[test]
fn headers_that_are_accepted() {
    for (bytes, ends) in accepted() {
        let consumed = bytes.len();
        let followed = [&bytes[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        for bytes in [bytes, followed] {
            let parsed = parse(&bytes);
            let expected = Ok(Parsed::Header { consumed, ends });
            assert_eq!(parsed, expected, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn headers_that_are_refused() {
    for (bytes, defect) in refused() {
        assert_eq!(parse(&bytes), Err(defect), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_line_has_at_most_107_bytes() {
    let mut line = b"PROXY UNKNOWN ".to_vec();
    line.resize(LONGEST - 2, b'a');
    line.extend_from_slice(b"\r\n");
    assert!(matches!(
        parse(&line),
        Ok(Parsed::Header { consumed: 107, .. })
    ));
    line.insert(20, b'a');
    assert_eq!(parse(&line), Err(Defect::LineTooLong));
}

/// Of a header, whatever part has come needs more, and what follows it changes nothing. What is refused is refused for the
/// same reason, however much of it has come.
fn parts_agree(bytes: &[u8]) {
    let whole = parse(bytes);
    let needed = match whole {
        Ok(Parsed::Header { consumed, .. }) => consumed,
        Ok(Parsed::NeedsMore) | Err(_) => bytes.len(),
    };
    assert!(needed <= bytes.len());
    for length in 0..=bytes.len() {
        let part = parse(&bytes[..length]);
        let agrees = part == whole || (length < needed && part == Ok(Parsed::NeedsMore));
        let is_early = length < needed && matches!(part, Ok(Parsed::Header { .. }));
        assert!(agrees && !is_early, "{part:?} of {length}, then {whole:?}");
    }
}

#[test]
fn a_part_of_a_header_needs_more_or_has_the_same_defect() {
    let accepted = accepted().into_iter().map(|(bytes, _)| bytes);
    let refused = refused().into_iter().map(|(bytes, _)| bytes);
    for bytes in accepted.chain(refused) {
        parts_agree(&bytes);
    }
}

#[test]
fn written_headers_are_read_as_what_they_name() {
    for version in [SendProxyProtocol::V1, SendProxyProtocol::V2] {
        for ends in [v4(), v6()] {
            let written = header(version, ends);
            let consumed = written.len();
            let ends = Some(ends);
            assert_eq!(parse(&written), Ok(Parsed::Header { consumed, ends }));
        }
        let written = local_header(version);
        let consumed = written.len();
        let expected = Parsed::Header {
            consumed,
            ends: None,
        };
        assert_eq!(parse(&written), Ok(expected));
    }
    assert!(header(SendProxyProtocol::Off, v4()).is_empty());
    assert!(local_header(SendProxyProtocol::Off).is_empty());
    assert_eq!(
        header(SendProxyProtocol::V2, v4()),
        binary(0x21, 0x11, ADDRESSES)
    );
}

#[test]
fn addresses_of_two_families_are_written_as_ipv6() {
    let mixed = ends("192.0.2.1:5000", "[2001:db8::2]:443");
    assert_eq!(
        header(SendProxyProtocol::V1, mixed),
        b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 5000 443\r\n"
    );
    let mapped = ends("[::ffff:192.0.2.1]:5000", "[::ffff:198.51.100.2]:443");
    assert_eq!(
        header(SendProxyProtocol::V1, mapped),
        b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n"
    );
}

/// Bytes that are a header but for some of them.
fn near_headers() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<_> = accepted()
        .into_iter()
        .map(|(bytes, _)| bytes)
        .chain(refused().into_iter().map(|(bytes, _)| bytes))
        .filter(|bytes| bytes.len() < 300)
        .collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(known), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_judged_alike_in_parts(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        parts_agree(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_signature_are_judged_alike_in_parts(
        is_binary in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let signature: &[u8] = if is_binary { SIGNATURE } else { b"PROXY " };
        parts_agree(&[signature, &bytes].concat());
    }

    #[test]
    fn bytes_near_a_header_are_judged_alike_in_parts(bytes in near_headers()) {
        parts_agree(&bytes);
    }

    #[test]
    fn what_is_written_is_read(source: SocketAddr, destination: SocketAddr, binary: bool) {
        let version = if binary { SendProxyProtocol::V2 } else { SendProxyProtocol::V1 };
        let written = header(version, Ends { source, destination });
        let Ok(Parsed::Header { consumed, ends: Some(read) }) = parse(&written) else {
            panic!("{}", written.escape_ascii());
        };
        prop_assert_eq!(consumed, written.len());
        prop_assert_eq!(read.source.ip().to_canonical(), source.ip().to_canonical());
        prop_assert_eq!(read.source.port(), source.port());
        prop_assert_eq!(read.destination.ip().to_canonical(), destination.ip().to_canonical());
    }
}
