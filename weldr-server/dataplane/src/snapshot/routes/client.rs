//! The address of the client of a request, as conditions see it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::http1::forwarded_client;

use super::RequestFields;

/// The address of the client of a request with these fields that came from `peer`: that of the peer, or if it is one of the
/// `trusted` proxies, the one that it names. For requests that are explained; those of clients are not copied.
pub fn client_of(fields: &dyn RequestFields, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.iter().any(|network| network.contains(&peer)) {
        return peer;
    }
    let values = |name| {
        let mut values = Vec::new();
        fields.any(name, &mut |value| {
            values.push(value.to_vec());
            false
        });
        values
    };
    let (x_forwarded_for, forwarded) = (values("x-forwarded-for"), values("forwarded"));
    let x_forwarded_for = x_forwarded_for.iter().map(Vec::as_slice);
    let forwarded = forwarded.iter().map(Vec::as_slice);
    forwarded_client(x_forwarded_for, forwarded, trusted).map_or(peer, |client| client.ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_names_the_client() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let fields = |fields: &[(&str, &str)]| -> Vec<(String, String)> {
            let fields = fields.iter();
            let owned = fields.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        let named = fields(&[("X-Forwarded-For", "192.0.2.1, 10.1.1.1")]);
        let forwarded = fields(&[("forwarded", "for=192.0.2.2")]);
        for (fields, peer, client) in [
            (&named, "10.0.0.1", "192.0.2.1"),
            (&named, "11.0.0.1", "11.0.0.1"),
            (&named, "::ffff:10.0.0.1", "192.0.2.1"),
            (&forwarded, "10.0.0.1", "192.0.2.2"),
            (&vec![], "10.0.0.1", "10.0.0.1"),
        ] {
            let found = client_of(fields, peer.parse().unwrap(), &trusted);
            assert_eq!(found.to_string(), client, "{peer}");
        }
    }
}
