//! Finds the client's address when requests come through trusted proxies. Pure.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::forwarded::each_for;

/// The address of a client as a proxy names it. Most proxies name no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    pub(crate) ip: IpAddr,
    pub(crate) port: Option<u16>,
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: Some(address.port()),
        }
    }
}

/// The client of a request that a trusted proxy sent, by the values of its fields X-Forwarded-For and Forwarded: the last
/// address in X-Forwarded-For that is not of a trusted proxy. Addresses before it come from an untrusted peer. `None` when no
/// field names the client.
///
/// Forwarded is used only if there is no X-Forwarded-For: a proxy that writes only X-Forwarded-For forwards a Forwarded
/// field that its client wrote.
pub(crate) fn forwarded_client<'v>(
    x_forwarded_for: impl DoubleEndedIterator<Item = &'v [u8]> + Clone,
    forwarded: impl Iterator<Item = &'v [u8]>,
    trusted: &[IpNet],
) -> Option<ClientAddress> {
    if x_forwarded_for.clone().next().is_some() {
        let nodes = x_forwarded_for
            .rev()
            .flat_map(|value| value.rsplit(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|node| !node.is_empty());
        return last_untrusted(nodes.map(parse_node), trusted);
    }
    let mut nodes = Vec::new();
    for value in forwarded {
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

    fn client(lines: &str) -> Option<String> {
        let values = |wanted| {
            let fields = lines.lines().map(|line| line.split_once(": ").unwrap());
            let values = fields.filter_map(move |(name, value)| (name == wanted).then_some(value));
            values.map(str::as_bytes).collect::<Vec<_>>()
        };
        let (x_forwarded_for, forwarded) = (values("X-Forwarded-For"), values("Forwarded"));
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let (x_forwarded_for, forwarded) = (x_forwarded_for.into_iter(), forwarded.into_iter());
        let client = forwarded_client(x_forwarded_for, forwarded, &trusted)?;
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
