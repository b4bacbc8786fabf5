//! The classes of bytes of RFC 9110, section 5.6, and RFC 9112, section 3.

use std::net::Ipv6Addr;

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;

/// What each byte may be part of.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        // A fragment is not part of a request-target, and `#` begins one.
        if byte != b'#' as usize {
            classes[byte] |= TARGET;
        }
        byte += 1;
    }
    let classes = mark(classes, b"!#$%&'*+-.^_`|~", TOKEN);
    let classes = mark(classes, b"-._~!$&'()*+;=", HOST);
    mark(classes, &alphanumeric(), TOKEN | HOST)
}

const fn mark(mut classes: [u8; 256], bytes: &[u8], class: u8) -> [u8; 256] {
    let mut at = 0;
    while at < bytes.len() {
        classes[bytes[at] as usize] |= class;
        at += 1;
    }
    classes
}

const fn alphanumeric() -> [u8; 62] {
    let mut all = [0; 62];
    let mut at: u8 = 0;
    while at < 62 {
        all[at as usize] = match at {
            0..10 => b'0' + at,
            10..36 => b'a' + at - 10,
            _ => b'A' + at - 36,
        };
        at += 1;
    }
    all
}

fn all_are(bytes: &[u8], class: u8) -> bool {
    bytes
        .iter()
        .all(|&byte| CLASSES[usize::from(byte)] & class != 0)
}

/// `token`: a method, or the name of a field.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all_are(bytes, TOKEN)
}

/// How many bytes at the begin could be a token.
pub(crate) fn token_length(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| CLASSES[usize::from(byte)] & TOKEN == 0)
        .unwrap_or(bytes.len())
}

/// The bytes that a request-target is made of; which form it has is another question.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all_are(bytes, TARGET)
}

/// `field-value`, without the white space around it: visible characters, space, tab, and the bytes above ASCII.
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    let is_text = |&byte: &u8| (byte >= b' ' || byte == b'\t') && byte != 0x7f;
    // Eight at a time; those with a tab, which is rare, one by one.
    let are_text =
        |word: &[u8; 8]| !has_control(u64::from_ne_bytes(*word)) || word.iter().all(is_text);
    let (words, rest) = bytes.as_chunks::<8>();
    match bytes.last_chunk::<8>() {
        // The last eight overlap those before: faster than the rest one by one.
        Some(last) => words.iter().all(are_text) && are_text(last),
        None => rest.iter().all(is_text),
    }
}

/// Whether a byte of `word` is below the space, or DEL.
const fn has_control(word: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let below_space = word.wrapping_sub(b' ' as u64 * EACH) & !word;
    let not_del = word ^ (0x7f * EACH);
    let del = not_del.wrapping_sub(EACH) & !not_del;
    (below_space | del) & HIGH != 0
}

/// `uri-host [ ":" port ]` of RFC 9110, section 7.2, with a host that is not empty.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    let (host, rest) = if bytes.first() == Some(&b'[') {
        let Some(end) = bytes.iter().position(|&byte| byte == b']') else {
            return false;
        };
        let inside = std::str::from_utf8(&bytes[1..end]).unwrap_or_default();
        if inside.parse::<Ipv6Addr>().is_err() {
            return false;
        }
        bytes.split_at(end + 1)
    } else {
        let end = bytes.iter().position(|&byte| byte == b':');
        let (host, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if host.is_empty() || !(all_are(host, HOST) || is_encoded_host(host)) {
            return false;
        }
        (host, rest)
    };
    match rest.split_first() {
        None => !host.is_empty(),
        Some((b':', port)) => {
            port.is_empty() || parse_decimal(port).is_some_and(|port| u16::try_from(port).is_ok())
        }
        Some(_) => false,
    }
}

/// Whether it is one with encoded bytes in it.
fn is_encoded_host(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, &byte)| {
        let is_encoded = || {
            let hex = bytes.get(at + 1..at + 3);
            hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
        };
        CLASSES[usize::from(byte)] & HOST != 0 || (byte == b'%' && is_encoded())
    })
}

/// `1*DIGIT` that fits: no sign, no space, nothing else.
pub(crate) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The elements of a list field (RFC 9110, section 5.6.1), empty ones left out.
///
/// Not for lists whose elements may be quoted strings with commas in them.
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// The members of a list field, empty ones included, without the white space around them.
pub(super) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&byte| byte == b',').map(trim)
}

/// `bytes` without optional white space at both ends: RFC 9110, section 5.6.3.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "a",
            "a.example:80",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:443",
            "a:",
            "x_y",
            "a%20b",
            "xn--a",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a b", "a/b", "user@a", "a:b", "a:80:90", "a:65536", "a,b", "[", "[]",
            "[::1", "[::1]x", "[a/b]", "a%2", "a%zz", "a?b", "a#b", "\"a\"", "ä",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn decimals() {
        assert_eq!(parse_decimal(b"0"), Some(0));
        assert_eq!(parse_decimal(b"007"), Some(7));
        assert_eq!(parse_decimal(b"18446744073709551615"), Some(u64::MAX));
        for digits in [
            "",
            "+5",
            "-1",
            "5 ",
            " 5",
            "0x5",
            "5,5",
            "1_0",
            "18446744073709551616",
        ] {
            assert_eq!(parse_decimal(digits.as_bytes()), None, "{digits:?}");
        }
    }

    #[test]
    fn values_and_tokens() {
        for byte in 0..=u8::MAX {
            let allowed = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
            // At each place of a word, behind one, and before one.
            for at in 0..12 {
                let mut value = *b"a \t\xff\x80~ b\tcde";
                value[at] = byte;
                assert_eq!(is_field_value(&value), allowed, "{byte:#x} at {at}");
            }
        }
        assert!(is_field_value(b""));
        assert!(is_token(b"Content-Length") && is_token(b"M-SEARCH") && is_token(b"x_y!"));
        for token in ["", "a b", "a:", "a\t", "a(", "ä", "a\0"] {
            assert!(!is_token(token.as_bytes()), "{token:?}");
        }
    }

    #[test]
    fn elements_of_a_list() {
        let all: Vec<_> = elements(b" a,,b ,\tc\t,").collect();
        assert_eq!(all, [&b"a"[..], b"b", b"c"]);
    }
}
