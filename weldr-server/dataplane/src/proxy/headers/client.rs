//! Finds the client's address when requests come through trusted proxies. Pure.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::forwarded::each_for;
use crate::http1::{Field, Known};

/// The address of a client as a proxy names it. Most proxies name no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct ClientAddress {
    pub(in crate::proxy) ip: IpAddr,
    pub(in crate::proxy) port: Option<u16>,
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: Some(address.port()),
        }
    }
}

/// The client of a request that a trusted proxy sent: the last address in X-Forwarded-For that is not of a trusted
/// proxy. Addresses before it come from an untrusted peer. `None` when no field names the client.
///
/// Forwarded is used only if there is no X-Forwarded-For: a proxy that writes only X-Forwarded-For forwards a Forwarded
/// field that its client wrote.
pub(super) fn forwarded_client(
    head: &[u8],
    fields: &[Field],
    trusted: &[IpNet],
) -> Option<ClientAddress> {
    let values = |known| {
        let lines = fields.iter().filter(move |field| field.known == known);
        lines.map(|field| field.value.of(head))
    };
    if values(Known::XForwardedFor).next().is_some() {
        let nodes = values(Known::XForwardedFor)
            .rev()
            .flat_map(|value| value.rsplit(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|node| !node.is_empty());
        return last_untrusted(nodes.map(parse_node), trusted);
    }
    let mut nodes = Vec::new();
    for value in values(Known::Forwarded) {
        each_for(value, |node| nodes.push(node.and_then(parse_node)))?;
    }
    last_untrusted(nodes.into_iter().rev(), trusted)
}

/// The first of `nodes`, given in reverse order, that is not trusted. If that one is not an address (`unknown`, `_hidden`),
/// the node before it.
fn last_untrusted(
    nodes: impl Iterator<Item = Option<ClientAddress>>,
    trusted: &[IpNet],
) -> Option<ClientAddress> {
    let mut client = None;
    for node in nodes {
        let Some(node) = node else { break };
        client = Some(node);
        if !trusted.iter().any(|network| network.contains(&node.ip)) {
            break;
        }
    }
    client
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`, and `2001:db8::1` in X-Forwarded-For. A port
/// that is not a number (RFC 7239, section 6.3) is left out.
fn parse_node(node: &[u8]) -> Option<ClientAddress> {
    let node = std::str::from_utf8(node).ok()?;
    let (ip, port) = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None if node.bytes().filter(|&byte| byte == b':').count() == 1 => {
            node.split_at(node.find(':')?)
        }
        None => (node, ""),
    };
    let ip: IpAddr = ip.parse().ok()?;
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok(),
        None if port.is_empty() => None,
        None => return None,
    };
    let ip = ip.to_canonical();
    Some(ClientAddress { ip, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{HeadLimits, parse_fields};

    fn client(lines: &str) -> Option<String> {
        let head = format!("{lines}\r\n");
        let limits = HeadLimits {
            bytes: 1024,
            fields: 20,
        };
        let mut fields = Vec::new();
        parse_fields(head.as_bytes(), 0, limits, &mut fields).unwrap();
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let client = forwarded_client(head.as_bytes(), &fields, &trusted)?;
        Some(match client.port {
            Some(port) => SocketAddr::new(client.ip, port).to_string(),
            None => client.ip.to_string(),
        })
    }

    #[test]
    fn the_last_address_that_is_not_trusted() {
        for (lines, expected) in [
            ("", None),
            ("X-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1")),
            (
                "X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n",
                Some("192.0.2.1"),
            ),
            (
                "X-Forwarded-For: 203.0.113.9, 192.0.2.1, 10.1.1.1, fd00::1\r\n",
                Some("192.0.2.1"),
            ),
            (
                "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.1.1.1,,\r\n",
                Some("192.0.2.1"),
            ),
            ("X-Forwarded-For: 10.2.2.2, 10.1.1.1\r\n", Some("10.2.2.2")),
            ("X-Forwarded-For: 192.0.2.1, unknown\r\n", None),
            (
                "X-Forwarded-For: 192.0.2.1, unknown, 10.1.1.1\r\n",
                Some("10.1.1.1"),
            ),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", Some("192.0.2.1")),
            (
                "Forwarded: for=192.0.2.1, for=10.1.1.1\r\n",
                Some("192.0.2.1"),
            ),
            (
                "Forwarded: for=192.0.2.1\r\nForwarded: for=_a, for=10.1.1.1\r\n",
                Some("10.1.1.1"),
            ),
            ("Forwarded: for=192.0.2.1, proto=http\r\n", None),
            ("Forwarded: for=\"192.0.2.1\r\n", None),
            (
                "Forwarded: for=192.0.2.2\r\nX-Forwarded-For: 192.0.2.1\r\n",
                Some("192.0.2.1"),
            ),
        ] {
            assert_eq!(client(lines).as_deref(), expected, "{lines}");
        }
    }

    #[test]
    fn nodes() {
        for (node, expected) in [
            ("192.0.2.1:80", Some("192.0.2.1:80")),
            ("192.0.2.1:_x", Some("192.0.2.1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:80", Some("[2001:db8::1]:80")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("a", None),
            ("192.0.2", None),
            ("[::1", None),
            ("[::1]80", None),
            ("1:2", None),
            ("fe80::1%eth0", None),
            ("\u{e4}", None),
        ] {
            let line = format!("X-Forwarded-For: {node}\r\n");
            assert_eq!(client(&line).as_deref(), expected, "{node}");
        }
    }
}
