//! A listener: an address that clients connect to, and the rules for their requests.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use super::{
    Action, CertificateName, Invalid, ListenerPolicy, ListenerProtocol, ListenerTls,
    ListenerTlsPatch, PolicyPatch, Priority, Revision, Route, Rule, listener_address,
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
    /// What clients speak to it.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// Its certificates. Of several that have the name that a client asks for, the first ones are preferred, and the first of all
    /// is that of clients without a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateName>,
    /// How it speaks TLS.
    #[serde(default)]
    pub tls: ListenerTls,
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
        self.policy.validate().map_err(within)?;
        self.validate_tls()
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
    /// What clients speak to it. Without TLS it has neither certificates nor settings of TLS any more, unless these are set as
    /// well; the listener `default` keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ListenerProtocol>,
    /// Its certificates, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<CertificateName>>,
    /// How it speaks TLS.
    #[serde(default, skip_serializing_if = "ListenerTlsPatch::is_empty")]
    pub tls: ListenerTlsPatch,
}

impl ListenerPatch {
    /// `spec` with these changes.
    #[must_use]
    pub fn applied_to(&self, spec: &ListenerSpec) -> ListenerSpec {
        let route = self.default_route.as_ref();
        let address = self.address.or(spec.address);
        let is_plain = self.protocol == Some(ListenerProtocol::Http) && address.is_some();
        let (certificates, tls) = if is_plain {
            (Vec::new(), ListenerTls::default())
        } else {
            (spec.certificates.clone(), spec.tls.clone())
        };
        ListenerSpec {
            address,
            default_route: route.unwrap_or(&spec.default_route).clone(),
            policy: self.policy.applied_to(&spec.policy),
            protocol: self.protocol.unwrap_or(spec.protocol),
            certificates: self.certificates.clone().unwrap_or(certificates),
            tls: self.tls.applied_to(&tls),
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
