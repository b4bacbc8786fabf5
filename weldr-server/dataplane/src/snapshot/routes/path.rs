//! The normal form of a path, and whether a server could read the path in another way. Pure.
//!
//! Conditions see the normal form, and the server gets the bytes that the client sent. So whoever finds a path that the
//! conditions read in one way and a server in another slips past them. Nobody knows which server is behind: so each way
//! in which servers are known to read a path counts.
//!
//! A path that no reading makes certain has a [`PathDefect`]. Of the remaining, some have a second reading: for servers
//! that decode `%2F`, merge `//`, drop `;` parameters, end the path at an encoded `?` or `#`, or decode twice. A condition
//! must hold for both or for neither.

use std::borrow::Cow;

/// Why it is not certain how a server reads a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathDefect {
    /// `%` without two hexadecimal digits, `%u002f` included.
    #[error("it has a `%` without two hexadecimal digits behind it")]
    InvalidEncoding,
    /// Overlong encodings included.
    #[error("its encoded bytes are not UTF-8")]
    NotUtf8,
    /// Some servers end the path there.
    #[error("it has an encoded control character")]
    ControlCharacter,
    /// Some servers take it for `/`.
    #[error("it has a backslash, encoded or not")]
    Backslash,
    /// Some servers decode twice, and then read a delimiter, a dot, or bytes that are not UTF-8.
    #[error("it is encoded twice")]
    DoubleEncoding,
    /// Some servers decode before they remove dot segments, and some after.
    #[error("it has an encoded dot segment")]
    EncodedDots,
    /// What that is depends on the server.
    #[error("a dot segment leads above its root")]
    AboveRoot,
    /// Servers do these steps in different orders.
    #[error(
        "it has more than one of: dot segments, `//`, `;`, an encoded `/`, `;`, `?` or `#`, something encoded twice; servers \
         read them in different orders"
    )]
    Mixed,
}

/// What servers may read in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReadings<'p> {
    normal: Cow<'p, [u8]>,
    lenient: Option<Vec<u8>>,
}

impl<'p> PathReadings<'p> {
    /// The readings of `path`, which has no query, and only visible ASCII characters without `#`.
    ///
    /// # Errors
    /// When it is not certain how a server reads it.
    pub fn of(path: &'p [u8]) -> Result<Self, PathDefect> {
        if path.is_empty() {
            return Ok(Self::certain(Cow::Borrowed(b"/")));
        }
        if is_normal(path) {
            return Ok(Self::certain(Cow::Borrowed(path)));
        }
        if path.contains(&b'\\') {
            return Err(PathDefect::Backslash);
        }
        let decoded = decode(path)?;
        if dot_segments(&decoded.bytes) != dot_segments(path) {
            return Err(PathDefect::EncodedDots);
        }
        let lenient = lenient(&decoded)?;
        let normal = if dot_segments(&decoded.bytes) > 0 {
            without_dots(&decoded.bytes)?
        } else {
            decoded.bytes
        };
        Ok(Self {
            normal: Cow::Owned(normal),
            lenient,
        })
    }

    fn certain(normal: Cow<'p, [u8]>) -> Self {
        Self {
            normal,
            lenient: None,
        }
    }

    /// The normal form.
    pub fn normal(&self) -> &[u8] {
        &self.normal
    }

    /// What a server may read that is more lenient.
    pub fn lenient(&self) -> Option<&[u8]> {
        self.lenient.as_deref()
    }
}

/// Whether `path` is its own normal form, which nearly all paths are.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        if matches!(byte, b'%' | b'\\' | b';') || (before == b'/' && matches!(byte, b'/' | b'.')) {
            return false;
        }
        before = byte;
    }
    true
}

/// What a more lenient server reads, if that is another path.
fn lenient(Decoded { bytes, encoded }: &Decoded) -> Result<Option<Vec<u8>>, PathDefect> {
    let has_params = bytes.contains(&b';');
    let has_empty = has_empty_segments(bytes);
    let decoded_twice = decoded_twice(bytes)?;
    let kinds = [
        dot_segments(bytes) > 0,
        has_params,
        has_empty,
        encoded.semicolon,
        encoded.slash,
        encoded.end,
        decoded_twice.is_some(),
    ];
    if kinds.into_iter().filter(|&has| has).count() > 1 {
        return Err(PathDefect::Mixed);
    }
    let lenient = if has_params || encoded.semicolon {
        without_params(bytes)
    } else if has_empty {
        merged(bytes)
    } else if encoded.slash {
        with_slashes(bytes)
    } else if encoded.end {
        until_encoded_end(bytes)
    } else if let Some(decoded_twice) = decoded_twice {
        decoded_twice
    } else {
        return Ok(None);
    };
    if dot_segments(&lenient) > 0 || (has_empty_segments(&lenient) && !has_empty) {
        return Err(PathDefect::Mixed);
    }
    Ok(Some(lenient))
}

struct Decoded {
    bytes: Vec<u8>,
    encoded: EncodedDelimiters,
}

/// The delimiters that are there in encoded form, in which they stay.
#[derive(Default)]
struct EncodedDelimiters {
    /// `/`
    slash: bool,
    /// `;`
    semicolon: bool,
    /// `?` or `#`
    end: bool,
}

/// Decodes what a path need not encode: visible ASCII characters but for delimiters. The rest stays encoded, in upper case.
fn decode(path: &[u8]) -> Result<Decoded, PathDefect> {
    let mut decoded = Decoded {
        bytes: Vec::with_capacity(path.len()),
        encoded: EncodedDelimiters::default(),
    };
    let mut raw = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        if byte != b'%' {
            decoded.bytes.push(byte);
            raw.push(byte);
            at += 1;
            continue;
        }
        let encoded = encoded_byte(&path[at..]).ok_or(PathDefect::InvalidEncoding)?;
        raw.push(encoded);
        match encoded {
            b'/' => decoded.encoded.slash = true,
            b';' => decoded.encoded.semicolon = true,
            b'?' | b'#' => decoded.encoded.end = true,
            b'\\' => return Err(PathDefect::Backslash),
            0..b' ' | 0x7f => return Err(PathDefect::ControlCharacter),
            _ => {}
        }
        if is_decoded(encoded) {
            decoded.bytes.push(encoded);
        } else {
            decoded
                .bytes
                .extend(path[at..at + 3].iter().map(u8::to_ascii_uppercase));
        }
        at += 3;
    }
    if std::str::from_utf8(&raw).is_err() {
        return Err(PathDefect::NotUtf8);
    }
    Ok(decoded)
}

/// Whether an encoded byte means the same as the byte itself, to all servers.
fn is_decoded(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'/' | b'\\' | b'%' | b'?' | b'#' | b';')
}

/// The byte that `text` begins with in encoded form.
fn encoded_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// What a server reads that decodes `path`, which is in normal form, once more; `None`: the same.
///
/// In normal form, all digits and letters are decoded, so `%25%36%31` is `%2561`, as it is for such a server.
fn decoded_twice(path: &[u8]) -> Result<Option<Vec<u8>>, PathDefect> {
    const PERCENT: &[u8] = b"%25";
    if memchr::memmem::find(path, PERCENT).is_none() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(path.len());
    let mut is_other = false;
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let digits = path[at..].strip_prefix(PERCENT);
        let again = digits.and_then(|digits| Some([b'%', *digits.first()?, *digits.get(1)?]));
        let Some((again, encoded)) = again.and_then(|again| Some((again, encoded_byte(&again)?)))
        else {
            out.push(byte);
            at += 1;
            continue;
        };
        if matches!(encoded, b'.' | 0..b' ' | 0x7f)
            || (encoded.is_ascii_graphic() && !is_decoded(encoded))
        {
            return Err(PathDefect::DoubleEncoding);
        }
        if is_decoded(encoded) {
            out.push(encoded);
        } else {
            out.extend(again.iter().map(u8::to_ascii_uppercase));
        }
        is_other = true;
        at += PERCENT.len() + 2;
    }
    if std::str::from_utf8(&fully_decoded(&out)).is_err() {
        return Err(PathDefect::DoubleEncoding);
    }
    Ok(is_other.then_some(out))
}

fn fully_decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let encoded = encoded_byte(&path[at..]);
        out.push(encoded.unwrap_or(byte));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    out
}

fn is_dot_segment(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/')
}

fn dot_segments(path: &[u8]) -> usize {
    segments(path)
        .filter(|segment| is_dot_segment(segment))
        .count()
}

fn has_empty_segments(path: &[u8]) -> bool {
    memchr::memmem::find(path, b"//").is_some()
}

/// RFC 3986, section 5.2.4, but that `..` at the root is an error.
fn without_dots(path: &[u8]) -> Result<Vec<u8>, PathDefect> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_with_slash = false;
    for segment in segments(path).skip(1) {
        ends_with_slash = is_dot_segment(segment);
        match segment {
            b"." => {}
            b".." => _ = kept.pop().ok_or(PathDefect::AboveRoot)?,
            segment => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if ends_with_slash || out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

fn without_params(path: &[u8]) -> Vec<u8> {
    let name = |segment: &[u8]| {
        let raw = segment.iter().position(|&byte| byte == b';');
        let encoded = memchr::memmem::find(segment, b"%3B");
        let end = raw.into_iter().chain(encoded).min();
        segment[..end.unwrap_or(segment.len())].to_vec()
    };
    let names: Vec<Vec<u8>> = segments(path).map(name).collect();
    names.join(&b'/')
}

fn until_encoded_end(path: &[u8]) -> Vec<u8> {
    let ends = [b"%3F", b"%23"].map(|end| memchr::memmem::find(path, end));
    let end = ends.into_iter().flatten().min();
    path[..end.unwrap_or(path.len())].to_vec()
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    out
}

fn with_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        if path[at..].starts_with(b"%2F") {
            out.push(b'/');
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}

/// The literal bytes of a pattern, in the form in which they are in a path in normal form.
pub(super) fn normal_literal(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let Some(encoded) = encoded_byte(&text[at..]) else {
            out.push(byte);
            at += 1;
            continue;
        };
        if is_decoded(encoded) {
            out.push(encoded);
        } else {
            out.extend(text[at..at + 3].iter().map(u8::to_ascii_uppercase));
        }
        at += 3;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &str) -> Result<(String, Option<String>), PathDefect> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let readings = PathReadings::of(path.as_bytes())?;
        Ok((text(readings.normal()), readings.lenient().map(text)))
    }

    #[test]
    fn paths_that_mean_the_same_have_one_normal_form() {
        for (path, normal) in [
            ("", "/"),
            ("/", "/"),
            ("*", "*"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/%61%2D%5f%7E/x", "/a-_~/x"),
            ("/a%28b%29", "/a(b)"),
            ("/a%20b%c3%a9", "/a%20b%C3%A9"),
            ("/100%25", "/100%25"),
            ("/100%25/x", "/100%25/x"),
            ("/100%25g", "/100%25g"),
            ("/100%25%20b", "/100%25%20b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/..", "/"),
            ("/%61dmin/../x", "/x"),
        ] {
            assert_eq!(read(path), Ok((normal.to_owned(), None)), "{path}");
        }
    }

    #[test]
    fn a_lenient_server_may_read_another_path() {
        for (path, normal, lenient) in [
            ("/a%2Fb", "/a%2Fb", "/a/b"),
            ("/a%2fb", "/a%2Fb", "/a/b"),
            ("//a", "//a", "/a"),
            ("/a///b//", "/a///b//", "/a/b/"),
            ("/a;x=1/b;y", "/a;x=1/b;y", "/a/b"),
            ("/admin;", "/admin;", "/admin"),
            ("/admin%3bx", "/admin%3Bx", "/admin"),
            ("/admin%3fx", "/admin%3Fx", "/admin"),
            ("/wiki/C%23", "/wiki/C%23", "/wiki/C"),
            ("/%2561dmin", "/%2561dmin", "/admin"),
            ("/%25%36%31dmin", "/%2561dmin", "/admin"),
            ("/%25%361dmin", "/%2561dmin", "/admin"),
            ("/100%252d%25", "/100%252d%25", "/100-%25"),
            ("/caf%25c3%25a9", "/caf%25c3%25a9", "/caf%C3%A9"),
        ] {
            let expected = Ok((normal.to_owned(), Some(lenient.to_owned())));
            assert_eq!(read(path), expected, "{path}");
        }
    }

    #[test]
    fn what_no_reading_makes_certain() {
        use PathDefect::{
            AboveRoot, Backslash, ControlCharacter, DoubleEncoding, EncodedDots, InvalidEncoding,
            Mixed, NotUtf8,
        };
        for (path, defect) in [
            ("/a\\b", Backslash),
            ("/a%5cb", Backslash),
            ("/..%5cadmin", Backslash),
            ("/a%", InvalidEncoding),
            ("/a%2", InvalidEncoding),
            ("/a%zz", InvalidEncoding),
            ("/a%u002fb", InvalidEncoding),
            ("/%c0%af", NotUtf8),
            ("/%c0%ae%c0%ae/admin", NotUtf8),
            ("/%e0%80%af", NotUtf8),
            ("/%ff", NotUtf8),
            ("/%c3x%a9", NotUtf8),
            ("/admin%00.html", ControlCharacter),
            ("/a%0d%0ax", ControlCharacter),
            ("/a%7f", ControlCharacter),
            ("/%252fadmin", DoubleEncoding),
            ("/%25%32%66admin", DoubleEncoding),
            ("/%253fadmin", DoubleEncoding),
            ("/admin%2523", DoubleEncoding),
            ("/admin%2500", DoubleEncoding),
            ("/%252561", DoubleEncoding),
            ("/%25c0%25afadmin", DoubleEncoding),
            ("/100%25ab", DoubleEncoding),
            ("/%2561//b", Mixed),
            ("/%2561;b", Mixed),
            ("/%2561%2fb", Mixed),
            ("/x/../%2561dmin", Mixed),
            ("/a%3b;", Mixed),
            ("/%252e%252e/admin", DoubleEncoding),
            ("/%255c", DoubleEncoding),
            ("/%25252f", DoubleEncoding),
            ("/a/%2e%2e/admin", EncodedDots),
            ("/a/.%2e/admin", EncodedDots),
            ("/a/%2E/b", EncodedDots),
            ("/a/../%2e%2e/admin", EncodedDots),
            ("/..", AboveRoot),
            ("/../admin", AboveRoot),
            ("/a/../../admin", AboveRoot),
            ("/a//../admin", Mixed),
            ("/a/..;/admin", Mixed),
            ("/a/..;x/admin", Mixed),
            ("/;/admin", Mixed),
            ("/.;/admin", Mixed),
            ("/a%2f..%2fadmin", Mixed),
            ("/a%2f../admin", Mixed),
            ("/a%2f%2fb", Mixed),
            ("/%2fadmin", Mixed),
            ("/a;b%2fc", Mixed),
            ("//a;b", Mixed),
        ] {
            assert_eq!(read(path), Err(defect), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(path in "/[a-c./%2eEfF5;C-]{0,24}") {
            if let Ok(readings) = PathReadings::of(path.as_bytes()) {
                let again = PathReadings::of(readings.normal()).unwrap();
                prop_assert_eq!(again.normal(), readings.normal());
                prop_assert_eq!(again.lenient(), readings.lenient());
            }
        }

        /// The readings of servers that do any of the steps in any order, once each and decoding twice, are those of the
        /// conditions.
        #[test]
        fn no_order_of_decoding_leads_elsewhere(
            path in "/[ab./;]{0,5}(%2f|%2e|%61|%3b|//|\\.\\./|;a|%2561|%25%36%31|%252f|%25)?[ab./;]{0,5}(%2f|%2e|//|/\\.\\.|;|%2562)?"
        ) {
            let Ok(readings) = PathReadings::of(path.as_bytes()) else { return Ok(()) };
            let steps: [Step; 5] = [
                fully_decoded,
                merged,
                |path| without_params(path),
                |path| without_dots(path).unwrap_or_else(|_| b"above the root".to_vec()),
                fully_decoded,
            ];
            for order in orders() {
                // That dot segments are removed in the end is sure.
                let order = order.into_iter().chain([3]);
                let read = order.fold(path.clone().into_bytes(), |read, step| steps[step](&read));
                // What was decoded twice is bytes already: a `%` in it begins no escape that a reading would have.
                let known = |reading: &[u8]| {
                    let bytes = fully_decoded(reading);
                    bytes == read || bytes == fully_decoded(&read)
                };
                let is_known = known(readings.normal()) || readings.lenient().is_some_and(known);
                prop_assert!(is_known, "{} read as {}", path, String::from_utf8_lossy(&read));
            }
        }
    }

    type Step = fn(&[u8]) -> Vec<u8>;

    /// Each selection of the five steps, in each order.
    fn orders() -> Vec<Vec<usize>> {
        let mut all = vec![vec![]];
        let mut begun = 0;
        while begun < all.len() {
            for step in 0..5 {
                if !all[begun].contains(&step) {
                    let mut longer = all[begun].clone();
                    longer.push(step);
                    all.push(longer);
                }
            }
            begun += 1;
        }
        all
    }
}
