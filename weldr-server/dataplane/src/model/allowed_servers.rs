//! Where servers may be added, as a node is configured. Each node may be configured differently, so this is no part of
//! [`DesiredState::apply`](super::DesiredState::apply).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Invalid;

/// The networks in which servers may be added. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct AllowedServers(std::sync::Arc<[IpNet]>);

impl AllowedServers {
    /// Servers in `networks` only. Without a network: all but those at link-local addresses. Such an address means
    /// something on one link only, and the one of most clouds' metadata service (169.254.169.254) gives out credentials.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    /// Accepts a server at `server`.
    ///
    /// # Errors
    /// Names what is allowed.
    pub fn check(&self, server: SocketAddr) -> Result<SocketAddr, Invalid> {
        let ip = server.ip().to_canonical();
        if self.0.is_empty() {
            if !is_link_local(ip) {
                return Ok(server);
            }
            let accepted =
                "an address that is not link-local, or the network of this one in --allow-servers";
            return Err(Invalid::new("address", server, accepted));
        }
        if self.0.iter().any(|network| network.contains(&ip)) {
            return Ok(server);
        }
        let networks: Vec<String> = self.0.iter().map(IpNet::to_string).collect();
        let accepted = format!(
            "an address in {}, which this node has as --allow-servers",
            networks.join(", ")
        );
        Err(Invalid::new("address", server, accepted))
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(networks: &[&str], server: &str) -> Result<SocketAddr, Invalid> {
        let networks = networks.iter().map(|network| network.parse().unwrap());
        AllowedServers::new(networks.collect()).check(server.parse().unwrap())
    }

    #[test]
    fn without_a_network_all_but_link_local_addresses_are_allowed() {
        for server in [
            "127.0.0.1:80",
            "10.0.0.1:80",
            "[::1]:80",
            "[2001:db8::1]:80",
        ] {
            assert!(check(&[], server).is_ok(), "{server}");
        }
        for server in [
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[::ffff:169.254.1.1]:80",
        ] {
            let refused = check(&[], server).unwrap_err();
            assert_eq!(refused.field, "address");
            assert!(refused.accepted.contains("--allow-servers"), "{refused}");
        }
    }

    #[test]
    fn with_networks_only_theirs_are_allowed() {
        let networks = ["10.0.0.0/8", "fe80::/10"];
        for server in ["10.1.2.3:80", "[fe80::1]:80", "[::ffff:10.0.0.1]:80"] {
            assert!(check(&networks, server).is_ok(), "{server}");
        }
        for server in ["127.0.0.1:80", "11.0.0.1:80", "[::1]:80"] {
            let refused = check(&networks, server).unwrap_err();
            assert!(
                refused.accepted.contains("10.0.0.0/8, fe80::/10"),
                "{refused}"
            );
        }
    }
}
