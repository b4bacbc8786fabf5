//! The value by which consistent hashing chooses the server of a request.

use std::net::IpAddr;

use crate::{balancer::hash_key, model::HashKey, stickiness::cookie};

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
