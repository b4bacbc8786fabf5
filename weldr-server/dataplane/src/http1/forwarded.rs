//! The grammar of `Forwarded`: RFC 7239, section 4. Pure.

use super::grammar::token_length;

/// The parameters that RFC 7239 defines; none may be in an element twice. Extensions are ignored.
const PARAMETERS: [&[u8]; 4] = [b"for", b"by", b"host", b"proto"];

/// Whether `value`, of one field line, is a list of elements. White space around `;` is accepted, because some
/// proxies write it and it has only one meaning.
pub(crate) fn is_forwarded(value: &[u8]) -> bool {
    each_for(value, |_| {}).is_some()
}

/// Calls `each` with the `for` parameter of each element in order, without its quotes; with `None` for an element
/// without one. Returns `None` when `value` is malformed.
pub(super) fn each_for<'v>(value: &'v [u8], mut each: impl FnMut(Option<&'v [u8]>)) -> Option<()> {
    let mut cursor = Cursor { rest: value };
    loop {
        let element = cursor.element()?;
        if !element.is_empty {
            each(element.node);
        }
        match cursor.rest.split_first() {
            None => return Some(()),
            // An element ends at a comma or at the end.
            Some((_, rest)) => cursor.rest = rest,
        }
    }
}

/// `forwarded-element`.
struct Element<'v> {
    /// The value of `for`.
    node: Option<&'v [u8]>,
    /// An empty element, which a list may contain (RFC 9110, section 5.6.1).
    is_empty: bool,
}

/// The rest of a value.
struct Cursor<'v> {
    rest: &'v [u8],
}

impl<'v> Cursor<'v> {
    /// Takes an element, up to the comma behind it or to the end. `None` when it is malformed.
    fn element(&mut self) -> Option<Element<'v>> {
        let mut element = Element {
            node: None,
            is_empty: true,
        };
        let mut seen = [false; PARAMETERS.len()];
        let mut is_separated = true;
        loop {
            self.skip_white_space();
            match self.rest.first() {
                None | Some(b',') => return Some(element),
                Some(b';') => {
                    self.rest = &self.rest[1..];
                    is_separated = true;
                }
                Some(_) if is_separated => {
                    let (name, value) = self.pair()?;
                    element.is_empty = false;
                    let known = PARAMETERS.map(|parameter| parameter.eq_ignore_ascii_case(name));
                    if let Some(at) = known.iter().position(|&is_it| is_it) {
                        if std::mem::replace(&mut seen[at], true) {
                            return None;
                        }
                        if at == 0 {
                            element.node = Some(value);
                        }
                    }
                    is_separated = false;
                }
                Some(_) => return None,
            }
        }
    }

    fn skip_white_space(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// `token "=" ( token / quoted-string )`, the value without its quotes.
    fn pair(&mut self) -> Option<(&'v [u8], &'v [u8])> {
        let name = self.token()?;
        self.rest = self.rest.strip_prefix(b"=")?;
        let value = match self.rest.strip_prefix(b"\"") {
            Some(quoted) => self.quoted(quoted)?,
            None => self.token()?,
        };
        Some((name, value))
    }

    fn token(&mut self) -> Option<&'v [u8]> {
        let (token, rest) = self.rest.split_at(token_length(self.rest));
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The rest of a `quoted-string`, up to the quote that ends it. Control characters are not in a field value.
    fn quoted(&mut self, string: &'v [u8]) -> Option<&'v [u8]> {
        let mut at = 0;
        loop {
            match string.get(at)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.rest = &string[at + 1..];
        Some(&string[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fors(value: &str) -> Option<Vec<Option<String>>> {
        let mut fors = Vec::new();
        let text = |node: &[u8]| String::from_utf8_lossy(node).into_owned();
        each_for(value.as_bytes(), |node| fors.push(node.map(text)))?;
        Some(fors)
    }

    #[test]
    fn the_for_of_each_element() {
        for (value, expected) in [
            ("", &[][..]),
            (" , ,", &[]),
            ("for=a", &[Some("a")]),
            (
                "proto=http;For=\"[::1]:80\" , by=x",
                &[Some("[::1]:80"), None],
            ),
            (
                ";;for=a;; host=\"a,;\\\"b\";ext=c;ext=c,for=b",
                &[Some("a"), Some("b")],
            ),
        ] {
            let expected = expected.iter().map(|node| node.map(str::to_owned));
            assert_eq!(fors(value), Some(expected.collect()), "{value}");
        }
    }

    #[test]
    fn malformed_values_have_no_elements() {
        for value in [
            "a",
            "for",
            "for=",
            "=a",
            "for=\"a",
            "for=\"a\\",
            "for=\"a\\\"",
            "for=a b",
            "for=a proto=b",
            "for=\"a\"b",
            "for=[::1]",
            "for =a",
            "for= a",
            "for=a;for=b",
            "by=a;BY=b",
            "for=a:80",
            "for=a, b",
        ] {
            assert_eq!(fors(value), None, "{value}");
        }
    }
}
