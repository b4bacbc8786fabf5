//! A listener: an address that clients connect to, and the rules for their requests.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    Action, Invalid, ListenerPolicy, PolicyPatch, Priority, Revision, Route, Rule, listener_address,
};

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
            listener_address(address)?;
        }
        validate_default(&self.default_route)?;
        let within = |invalid: Invalid| invalid.within("policy");
        self.policy.validate().map_err(within)
    }
}

/// Accepts a route for requests that no rule matches.
pub(super) fn validate_default(route: &Route) -> Result<(), Invalid> {
    let within = |invalid: Invalid| invalid.within("default_route");
    route.validate().map_err(within)?;
    match &route.action {
        Action::Redirect(redirect) if redirect.needs_rest() => {
            let accepted = "a URL without {rest}, which only a rule with path prefixes has";
            Err(Invalid::new("location", &redirect.location, accepted)
                .within("default_route.redirect"))
        }
        _ => Ok(()),
    }
}

/// Changes of a listener; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerPatch {
    /// Where it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// What becomes of a request that no rule matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_route: Option<Route>,
    /// How it treats clients and their requests.
    #[serde(default)]
    pub policy: PolicyPatch<ListenerPolicy>,
}

impl ListenerPatch {
    /// `spec` with these changes.
    #[must_use]
    pub fn applied_to(&self, spec: &ListenerSpec) -> ListenerSpec {
        let route = self.default_route.as_ref();
        ListenerSpec {
            address: self.address.or(spec.address),
            default_route: route.unwrap_or(&spec.default_route).clone(),
            policy: self.policy.applied_to(&spec.policy),
        }
    }
}

/// What is left of a listener that was removed: how its connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedListener {
    /// The revision that removed it.
    pub revision: Revision,
    /// How long running requests may go on, from when a node sees the removal.
    pub drain_deadline: Duration,
}
