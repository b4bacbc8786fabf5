//! The value by which consistent hashing chooses the server of a request.

use std::net::IpAddr;

use crate::{balancer::hash_key, model::HashKey};

use super::RequestFields;

/// The hash of what `key` names in a request with these fields and this path, as it came and without the query; or of the
/// address of its client, `source`, where the request has no such thing.
pub fn hash_of(
    key: &HashKey,
    fields: &dyn RequestFields,
    path: &[u8],
    source: impl FnOnce() -> IpAddr,
) -> u64 {
    let mut found = None;
    let mut take = |value: Option<&[u8]>| {
        found = value.map(hash_key);
        found.is_some()
    };
    match key {
        HashKey::Client => false,
        HashKey::Header(name) => fields.any(name, &mut |value| take(Some(value))),
        HashKey::Cookie(name) => fields.any("cookie", &mut |cookies| take(cookie(cookies, name))),
        HashKey::Path => take(Some(path)),
    };
    found.unwrap_or_else(|| match source().to_canonical() {
        IpAddr::V4(ip) => hash_key(&ip.octets()),
        IpAddr::V6(ip) => hash_key(&ip.octets()),
    })
}

/// The value of the first cookie of that name in a Cookie field (RFC 6265, section 4.2.1).
fn cookie<'c>(cookies: &'c [u8], name: &str) -> Option<&'c [u8]> {
    cookies.split(|&byte| byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let found = |cookies: &str| cookie(cookies.as_bytes(), "SID").map(<[u8]>::to_vec);
        for (cookies, value) in [
            ("SID=1", Some("1")),
            ("a=b; SID=1; SID=2", Some("1")),
            ("a=b;SID=x=y", Some("x=y")),
            ("SID=", Some("")),
            ("XSID=1; SIDX=2; sid=3; SID", None),
            ("", None),
        ] {
            assert_eq!(
                found(cookies).as_deref(),
                value.map(str::as_bytes),
                "{cookies}"
            );
        }
    }
}
