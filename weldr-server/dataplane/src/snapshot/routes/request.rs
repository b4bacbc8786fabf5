//! A request as conditions see it.

use std::{borrow::Cow, net::IpAddr};

use super::{HostDefect, PathDefect, PathReadings};

/// A request as conditions see it.
pub struct RoutedRequest<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The host in normal form: see [`normal_host`](super::normal_host).
    pub host: Result<Cow<'a, [u8]>, HostDefect>,
    /// The path: see [`PathReadings`].
    pub path: Result<PathReadings<'a>, PathDefect>,
    /// What follows the `?`; empty when there is none.
    pub query: &'a [u8],
    /// The address of the client.
    pub source: IpAddr,
    /// The fields.
    pub fields: &'a dyn RequestFields,
}

/// The fields of a request.
pub trait RequestFields {
    /// Whether `accepts` accepts the value of a line with this name. Letter case of the name does not matter.
    fn any(&self, name: &str, accepts: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

/// Names and values.
impl RequestFields for Vec<(String, String)> {
    fn any(&self, name: &str, accepts: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .any(|(_, value)| accepts(value.as_bytes()))
    }
}

/// The parameters of a query, decoded: `+` is a space, and what is not a valid encoding stays as it is.
pub(super) fn parameters(query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    query
        .split(|&byte| byte == b'&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let end = parameter.iter().position(|&byte| byte == b'=');
            let (name, value) = match end {
                Some(end) => (&parameter[..end], &parameter[end + 1..]),
                None => (parameter, &b""[..]),
            };
            (decoded(name), decoded(value))
        })
}

fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| b"%+".contains(byte)) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            let is_hex = hex.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| u8::from_str_radix(hex, 16).ok())?
        });
        match (byte, hex) {
            (b'%', Some(encoded)) => {
                out.push(encoded);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = b"a=1&b&&c%3D=x%20y+z&d=%zz%2&=e&f=1=2";
        let found: Vec<(String, String)> = parameters(query)
            .map(|(name, value)| {
                let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).unwrap();
                (text(name), text(value))
            })
            .collect();
        let expected = [
            ("a", "1"),
            ("b", ""),
            ("c=", "x y z"),
            ("d", "%zz%2"),
            ("", "e"),
            ("f", "1=2"),
        ];
        assert_eq!(
            found,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
