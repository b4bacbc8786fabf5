//! A listener: an address that clients connect to, and the rules for their requests.

use std::{net::SocketAddr, sync::Arc};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{Invalid, ListenerPolicy, Priority, Revision, Route, Rule};

/// An address that clients connect to, with its rules.
///
/// The map shares structure between versions, as that of a pool's servers does.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// What operators want of it, without its rules.
    pub spec: ListenerSpec,
    /// The revision of the last change of `spec`.
    pub spec_revision: Revision,
    /// The revision of the last change of any rule.
    pub rules_revision: Revision,
    /// The rules in the order in which they are tried.
    pub rules: RedBlackTreeMapSync<Priority, Arc<Rule>>,
}

impl Listener {
    /// How many rules a listener may have.
    pub const MOST_RULES: usize = 20_000;

    /// A listener without rules, added at `revision`.
    pub fn new(spec: ListenerSpec, revision: Revision) -> Self {
        Self {
            spec,
            spec_revision: revision,
            rules_revision: revision,
            rules: RedBlackTreeMapSync::new_sync(),
        }
    }
}

/// What operators want of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSpec {
    /// Where it listens on each node that has no other address for it. `None` only for the listener `default`: it listens
    /// on the addresses of the option `--listen`.
    pub address: Option<SocketAddr>,
    /// What becomes of a request that no rule matches.
    pub default_route: Route,
    /// How it treats clients and their requests.
    #[serde(default)]
    pub policy: ListenerPolicy,
}

impl ListenerSpec {
    /// Accepts a specification when each value is in its range.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(address) = self.address {
            let ip = address.ip();
            let is_broadcast = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast());
            if address.port() == 0 || ip.is_multicast() || is_broadcast {
                let accepted =
                    "an address and a port from 1 to 65535, such as 0.0.0.0:80 or [::]:80";
                return Err(Invalid::new("address", address, accepted));
            }
        }
        let within = |invalid: Invalid| invalid.within("default_route");
        self.default_route.validate().map_err(within)?;
        let within = |invalid: Invalid| invalid.within("policy");
        self.policy.validate().map_err(within)
    }
}
