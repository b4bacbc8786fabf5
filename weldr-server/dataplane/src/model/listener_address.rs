//! What may be the address of a listener.

use std::net::{IpAddr, SocketAddr};

use super::Invalid;

const ACCEPTED: &str = "`ip:port` or `[ip]:port`, such as 0.0.0.0:80 or [::]:80";

/// Accepts `ip:port` and `[ipv6]:port` of one interface or of all, as [`listener_address`] does.
///
/// # Errors
/// Says what is accepted.
pub fn parse_listener_address(text: &str) -> Result<SocketAddr, Invalid> {
    match text.parse() {
        Ok(address) if !text.contains('%') => {
            listener_address(address)?;
            Ok(address)
        }
        _ => Err(Invalid::new("address", text, ACCEPTED)),
    }
}

/// Accepts an address that can be listened on, in its usual form. Whether a node has it is another question.
///
/// # Errors
/// Says what is accepted.
pub fn listener_address(address: SocketAddr) -> Result<(), Invalid> {
    let refuse = |accepted: String| Err(Invalid::new("address", address, accepted));
    let ip = address.ip();
    if address.port() == 0 {
        return refuse("a port from 1 to 65535".to_owned());
    }
    if ip.is_multicast() || matches!(ip, IpAddr::V4(ip) if ip.is_broadcast()) {
        return refuse("the address of an interface, or 0.0.0.0 or [::] for all".to_owned());
    }
    let usual = SocketAddr::new(ip.to_canonical(), address.port());
    if usual != address {
        return refuse(format!(
            "{usual}, which is the same address in its usual form"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_interfaces_are_accepted() {
        for text in ["0.0.0.0:80", "[::]:443", "127.0.0.1:65535", "[fe80::1]:80"] {
            assert_eq!(parse_listener_address(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_listened_on_is_refused_with_its_reason() {
        for (text, accepted) in [
            ("", "`ip:port`"),
            ("80", "`ip:port`"),
            (":80", "`ip:port`"),
            ("0.0.0.0", "`ip:port`"),
            ("localhost:80", "`ip:port`"),
            ("::1:80", "`ip:port`"),
            ("[fe80::1%eth0]:80", "`ip:port`"),
            ("[fe80::1%1]:80", "`ip:port`"),
            ("0.0.0.0:0", "a port from 1"),
            ("0.0.0.0:65536", "`ip:port`"),
            ("224.0.0.1:80", "interface"),
            ("[ff02::1]:80", "interface"),
            ("255.255.255.255:80", "interface"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ] {
            let refused = parse_listener_address(text).unwrap_err();
            assert_eq!(refused.field, "address");
            assert_eq!(refused.value, text);
            assert!(refused.accepted.contains(accepted), "{text}: {refused}");
        }
    }
}
