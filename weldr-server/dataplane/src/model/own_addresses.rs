//! The addresses that this node itself listens on. None of them is a server: a request would come back to the node
//! that sent it, and clients of the proxy would reach the management API.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{DesiredState, Invalid, ListenerName};

/// The purpose of an address that a node listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerRole {
    /// Requests of clients. A listener on `[::]` takes no IPv4.
    Proxy,
    /// Calls of the management API.
    Management,
    /// Other nodes of the cluster.
    Cluster,
}

impl ListenerRole {
    /// Whose address it is, as a phrase with the option that sets it.
    fn described(self) -> &'static str {
        match self {
            Self::Proxy => "that of listener default on this node (--listen)",
            Self::Management => "that of the management API or the health endpoints of this node",
            Self::Cluster => "that for other nodes of the cluster (--cluster)",
        }
    }
}

/// An address that this node listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnListener {
    /// The purpose.
    pub role: ListenerRole,
    /// The address; unspecified (`0.0.0.0`, `[::]`) for every address of the machine.
    pub address: SocketAddr,
}

/// All addresses that this node listens on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OwnAddresses {
    listeners: Vec<OwnListener>,
    /// The addresses that listeners have on this node instead of their own.
    listener_addresses: BTreeMap<ListenerName, SocketAddr>,
    /// Addresses that this machine may have now or later, besides those of its interfaces.
    virtual_addresses: Vec<IpAddr>,
    /// Returns the addresses of the machine's interfaces. They change, so it is called each time that they are needed.
    machine: fn() -> Vec<IpAddr>,
}

/// Of a node that listens nowhere.
impl Default for OwnAddresses {
    fn default() -> Self {
        Self::new(Vec::new)
    }
}

impl OwnAddresses {
    /// No addresses yet, on a machine whose interfaces have the addresses that `machine` returns.
    pub fn new(machine: fn() -> Vec<IpAddr>) -> Self {
        Self {
            listeners: Vec::new(),
            listener_addresses: BTreeMap::new(),
            virtual_addresses: Vec::new(),
            machine,
        }
    }

    /// Adds an address that this node listens on.
    #[must_use]
    pub fn with(mut self, role: ListenerRole, address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.listeners.push(OwnListener { role, address });
        self
    }

    /// Says which addresses listeners have on this node instead of their own.
    #[must_use]
    pub fn with_listener_addresses(
        mut self,
        addresses: BTreeMap<ListenerName, SocketAddr>,
    ) -> Self {
        self.listener_addresses = addresses;
        self
    }

    /// These addresses, and those of the listeners of `state`.
    #[must_use]
    pub fn with_listeners_of(&self, state: &DesiredState) -> Self {
        let mut own = self.clone();
        for (name, listener) in &state.listeners {
            let here = self.listener_addresses.get(name).copied();
            if let Some(address) = here.or(listener.spec.address) {
                own = own.with(ListenerRole::Proxy, address);
            }
        }
        own
    }

    /// Adds an address that the machine has while the node leads.
    #[must_use]
    pub fn with_virtual(mut self, ip: IpAddr) -> Self {
        self.virtual_addresses.push(ip.to_canonical());
        self
    }

    /// The listener that a connection to `server` would reach.
    pub fn reached_by(&self, server: SocketAddr) -> Option<OwnListener> {
        let server = SocketAddr::new(server.ip().to_canonical(), server.port());
        let is_reached = |listener: &&OwnListener| {
            let listens = listener.address;
            listens.port() == server.port()
                && (listens.ip() == server.ip()
                    || (takes_every_address_like(listener, server.ip()) && self.has(server.ip())))
        };
        self.listeners.iter().find(is_reached).copied()
    }

    /// Accepts `server` if no listener of this node has its address.
    ///
    /// # Errors
    /// Names the listener.
    pub fn check(&self, server: SocketAddr) -> Result<SocketAddr, Invalid> {
        let Some(OwnListener { role, address }) = self.reached_by(server) else {
            return Ok(server);
        };
        let accepted = match role {
            ListenerRole::Proxy => format!(
                "the address of another process; this node itself proxies on {address}, so requests would come back to it"
            ),
            ListenerRole::Management => format!(
                "the address of another process; the management API of this node is on {address}, and clients of the \
                 proxy could change the pool"
            ),
            ListenerRole::Cluster => format!(
                "the address of another process; the other nodes of the cluster reach this node on {address}"
            ),
        };
        Err(Invalid::new("address", server, accepted))
    }

    /// Accepts `address` for the listener `name` if nothing else of this node listens on exactly that address, by its
    /// options and the `others` that are listeners: of two sockets at one address, one could not be bound. Addresses that
    /// include each other are left to the system.
    ///
    /// # Errors
    /// Names what listens there.
    pub fn check_listener(
        &self,
        name: &ListenerName,
        address: SocketAddr,
        others: Option<&DesiredState>,
    ) -> Result<(), Invalid> {
        let here = self.listener_addresses.get(name).copied();
        let here = here.unwrap_or(address);
        let refused = |what: String| {
            let accepted =
                format!("an address that nothing else of this node listens on: {here} is {what}");
            Err(Invalid::new("address", address, accepted))
        };
        if let Some(listener) = self.listeners.iter().find(|own| own.address == here) {
            return refused(listener.role.described().to_owned());
        }
        let is_other = |other: &ListenerName| other != name;
        let mut overrides = self.listener_addresses.iter();
        if let Some((other, _)) = overrides.find(|(other, at)| is_other(other) && **at == here) {
            return refused(format!(
                "that of listener {other} on this node (--listener-address)"
            ));
        }
        let of_others = others.into_iter().flat_map(|state| &state.listeners);
        let of_others = of_others.filter(|(other, _)| is_other(other));
        let mut elsewhere =
            of_others.filter(|(other, _)| !self.listener_addresses.contains_key(*other));
        match elsewhere.find(|(_, other)| other.spec.address == Some(here)) {
            Some((other, _)) => refused(format!("that of listener {other}")),
            None => Ok(()),
        }
    }

    /// Accepts the addresses that listeners have on this node instead of their own if nothing else of this node listens
    /// there.
    ///
    /// # Errors
    /// Names the listener, its address, and what listens there.
    pub fn check_listener_addresses(&self) -> Result<(), Invalid> {
        for (index, (name, address)) in self.listener_addresses.iter().enumerate() {
            if address.port() == 0 {
                continue;
            }
            let own = self.listeners.iter().find(|own| own.address == *address);
            let mut earlier = self.listener_addresses.iter().take(index);
            let taken = match (own, earlier.find(|(_, at)| *at == address)) {
                (Some(own), _) => own.role.described().to_owned(),
                (None, Some((other, _))) => format!("that of listener {other}"),
                (None, None) => continue,
            };
            let value = format!("{name}={address}");
            let accepted =
                format!("an address that nothing else of this node listens on: this is {taken}");
            return Err(Invalid::new("listener_address", value, accepted));
        }
        Ok(())
    }

    /// Whether this machine has `ip`.
    fn has(&self, ip: IpAddr) -> bool {
        ip.is_loopback()
            || self.virtual_addresses.contains(&ip)
            || (self.machine)().iter().any(|own| own.to_canonical() == ip)
    }
}

/// Whether `listener` takes connections to each address of the machine that is of the family of `ip`.
fn takes_every_address_like(listener: &OwnListener, ip: IpAddr) -> bool {
    let listens = listener.address.ip();
    let takes_both = listens.is_ipv6() && listener.role != ListenerRole::Proxy;
    listens.is_unspecified() && (listens.is_ipv4() == ip.is_ipv4() || takes_both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<IpAddr> {
        ["10.0.0.7", "fd00::7", "fe80::7"]
            .map(|ip| ip.parse().unwrap())
            .to_vec()
    }

    fn reached(role: ListenerRole, listen: &str, server: &str) -> bool {
        let own = OwnAddresses::new(machine)
            .with(role, listen.parse().unwrap())
            .with_virtual("10.0.0.100".parse().unwrap());
        own.reached_by(server.parse().unwrap()).is_some()
    }

    #[test]
    fn an_unspecified_address_is_each_one_of_the_machine() {
        use ListenerRole::{Cluster, Management, Proxy};
        for (role, listen, server) in [
            (Proxy, "127.0.0.1:80", "127.0.0.1:80"),
            (Proxy, "[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            (Proxy, "0.0.0.0:80", "127.0.0.1:80"),
            (Proxy, "0.0.0.0:80", "127.7.7.7:80"),
            (Proxy, "0.0.0.0:80", "10.0.0.7:80"),
            (Proxy, "0.0.0.0:80", "10.0.0.100:80"),
            (Proxy, "[::]:80", "[::1]:80"),
            (Proxy, "[::]:80", "[fd00::7]:80"),
            (Management, "[::]:80", "10.0.0.7:80"),
            (Cluster, "[::]:80", "127.0.0.1:80"),
            (Cluster, "192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert!(reached(role, listen, server), "{listen} {server}");
        }
        for (role, listen, server) in [
            (Proxy, "127.0.0.1:80", "127.0.0.1:81"),
            (Proxy, "127.0.0.1:80", "127.0.0.2:80"),
            (Proxy, "0.0.0.0:80", "10.0.0.7:81"),
            (Proxy, "0.0.0.0:80", "10.0.0.8:80"),
            (Proxy, "0.0.0.0:80", "[::1]:80"),
            (Proxy, "[::]:80", "127.0.0.1:80"),
            (Management, "0.0.0.0:80", "[fd00::7]:80"),
        ] {
            assert!(!reached(role, listen, server), "{listen} {server}");
        }
    }

    #[test]
    fn listeners_are_own_addresses() {
        use crate::model::{Listener, ListenerSpec, PoolSettings, Revision};
        let mut state = DesiredState::new(PoolSettings::default());
        for (name, port) in [("web", 81), ("api", 82)] {
            let spec = ListenerSpec {
                address: Some(([0, 0, 0, 0], port).into()),
                ..ListenerSpec::default()
            };
            let listener = Listener::new(spec, Revision(1));
            state
                .listeners
                .insert_mut(name.parse().unwrap(), listener.into());
        }
        let here = [("api".parse().unwrap(), ([127, 0, 0, 1], 83).into())];
        let own = OwnAddresses::new(machine).with_listener_addresses(here.into());
        let own = own.with_listeners_of(&state);
        let is_own = |port| own.reached_by(([127, 0, 0, 1], port).into()).is_some();
        assert_eq!([81, 82, 83].map(is_own), [true, false, true]);
    }

    #[test]
    fn a_listener_has_an_address_of_its_own_on_this_node() {
        use crate::model::{Listener, ListenerSpec, PoolSettings, Revision};
        let name = |text: &str| text.parse::<ListenerName>().unwrap();
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut state = DesiredState::new(PoolSettings::default());
        for (listener, port) in [("web", 81), ("api", 82)] {
            let spec = ListenerSpec {
                address: Some(local(port)),
                ..ListenerSpec::default()
            };
            let listener_with = Listener::new(spec, Revision(1));
            state
                .listeners
                .insert_mut(name(listener), listener_with.into());
        }
        let here = [(name("api"), local(83)), (name("later"), local(84))];
        let own = OwnAddresses::new(machine)
            .with(ListenerRole::Proxy, local(80))
            .with(ListenerRole::Management, local(87))
            .with_listener_addresses(here.into());
        for (listener, port, told) in [
            ("new", 80, "listener default"),
            ("new", 87, "management API"),
            ("new", 81, "listener web"),
            ("new", 83, "listener api on this node"),
            ("new", 84, "listener later on this node"),
        ] {
            let refused = own.check_listener(&name(listener), local(port), Some(&state));
            let refused = refused.unwrap_err();
            assert_eq!(refused.field, "address");
            assert!(refused.accepted.contains(told), "{refused}");
        }
        // The address of `api` is another one on this node, and `later` listens on its own whatever it is elsewhere.
        for (listener, port) in [("new", 82), ("new", 85), ("web", 81), ("later", 80)] {
            let checked = own.check_listener(&name(listener), local(port), Some(&state));
            assert_eq!(checked, Ok(()), "{listener} {port}");
        }
        let all = SocketAddr::from(([0, 0, 0, 0], 80));
        assert_eq!(own.check_listener(&name("new"), all, Some(&state)), Ok(()));
        assert_eq!(own.check_listener_addresses(), Ok(()));
        for (listener, port, told) in [("a", 80, "listener default"), ("b", 83, "listener api")] {
            let mut here = own.listener_addresses.clone();
            here.insert(name(listener), local(port));
            let own = own.clone().with_listener_addresses(here);
            let refused = own.check_listener_addresses().unwrap_err();
            assert_eq!(refused.field, "listener_address");
            assert!(refused.accepted.contains(told), "{refused}");
        }
    }

    #[test]
    fn a_refusal_names_the_field_the_value_and_the_listener() {
        let own = OwnAddresses::default()
            .with(ListenerRole::Management, ([127, 0, 0, 1], 8687).into())
            .with(ListenerRole::Proxy, ([0, 0, 0, 0], 80).into());
        let refused = own.check(([127, 0, 0, 1], 8687).into()).unwrap_err();
        assert_eq!(
            (refused.field.as_str(), refused.value.as_str()),
            ("address", "127.0.0.1:8687")
        );
        assert!(
            refused
                .accepted
                .contains("management API of this node is on 127.0.0.1:8687")
        );
        let refused = own.check(([127, 0, 0, 1], 80).into()).unwrap_err();
        assert!(
            refused.accepted.contains("proxies on 0.0.0.0:80"),
            "{refused}"
        );
        assert!(own.check(([127, 0, 0, 1], 81).into()).is_ok());
    }
}
