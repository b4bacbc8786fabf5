//! What may be the address of a server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Invalid;

/// Accepts `ip:port` and `[ipv6]:port` of one host, as [`server_address`] does.
pub fn parse_server_address(text: &str) -> Result<SocketAddr, Invalid> {
    let refuse = |accepted: &str| Err(Invalid::new("address", text, accepted));
    if text.contains('%') {
        return refuse("an address without a zone (`%…`): a zone means something on one node only");
    }
    let Ok(given) = text.parse::<SocketAddr>() else {
        return refuse("`ip:port`, or `[ip]:port` for IPv6; host names are not resolved");
    };
    server_address(given).map_err(|refused| Invalid {
        value: text.to_owned(),
        ..refused
    })
}

/// Accepts the address of one host. An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`) becomes the IPv4
/// address that it is, so that one server has one name.
pub fn server_address(given: SocketAddr) -> Result<SocketAddr, Invalid> {
    let refuse = |accepted: &str| Err(Invalid::new("address", given, accepted));
    let ip = given.ip().to_canonical();
    if given.port() == 0 {
        return refuse("a port from 1 to 65535");
    }
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return refuse("the address of one host, not an unspecified, multicast or broadcast one");
    }
    Ok(SocketAddr::new(ip, given.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_has_one_address() {
        for (text, canonical) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:65535", "[::1]:65535"),
            ("[0:0::0001]:1", "[::1]:1"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4:80"),
            ("[fe80::1]:80", "[fe80::1]:80"),
        ] {
            assert_eq!(
                parse_server_address(text).unwrap().to_string(),
                canonical,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_server_is_refused_with_its_reason() {
        for (text, accepted) in [
            ("", "`ip:port`"),
            ("127.0.0.1", "`ip:port`"),
            ("localhost:80", "host names are not resolved"),
            ("::1:80", "`[ip]:port` for IPv6"),
            ("127.0.0.1:65536", "`ip:port`"),
            ("127.0.0.1:-1", "`ip:port`"),
            (" 127.0.0.1:80", "`ip:port`"),
            ("127.0.0.1:0", "a port from 1 to 65535"),
            ("0.0.0.0:80", "one host"),
            ("[::]:80", "one host"),
            ("[::ffff:0.0.0.0]:80", "one host"),
            ("255.255.255.255:80", "one host"),
            ("224.0.0.1:80", "one host"),
            ("[ff02::1]:80", "one host"),
            ("[fe80::1%eth0]:80", "without a zone"),
            ("[fe80::1%1]:80", "without a zone"),
        ] {
            let refused = parse_server_address(text).unwrap_err();
            assert_eq!(
                (refused.field.as_str(), refused.value.as_str()),
                ("address", text)
            );
            assert!(refused.accepted.contains(accepted), "{text}: {refused}");
        }
    }
}
