//! Conversions between the proto and the model. Requests are validated here, and each violation has the path of its field
//! in the proto. Conversions to the proto cannot fail.

mod certificate;
mod check;
mod configuration;
mod duration;
mod listener;
mod object;
mod object_stats;
mod pool;
mod principal;
mod route;
mod server;
mod stats;
mod tls;
mod violations;

pub(super) use certificate::{acme_account, certificate, tls_policy_contents};
pub(super) use check::check_override;
pub(super) use configuration::{configuration, export};
pub(super) use duration::duration;
pub(super) use listener::{listener, listener_policy, proto_listener_policy, rule};
pub(super) use object::{ObjectKey, ObjectKinds, object};
pub(super) use object_stats::{listener_stats, pool_stats};
pub(super) use pool::{pool, pool_name, pool_patch, pool_settings};
pub(super) use principal::{date, principal, proto_role};
pub(super) use route::{proto_conditions, proto_route, route, rule_spec};
pub(super) use server::{admin_state, server, weight};
pub(super) use stats::stats;
pub(super) use tls::{certificate_names, listener_protocol, listener_tls};
pub(super) use violations::Violations;

use std::time::SystemTime;

use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};

use crate::model::{Invalid, Revision};

/// The name of an object, which must be given: an empty one does not mean `default`.
pub(super) fn new_name<T: std::str::FromStr<Err = Invalid>>(given: &str) -> Result<T, Invalid> {
    if given.is_empty() {
        return Err(Invalid::new("name", "", "a name"));
    }
    given
        .parse()
        .map_err(|invalid: Invalid| invalid.named("name"))
}

/// 0 means that no revision is expected.
pub(super) fn expected_revision(revision: u64) -> Option<Revision> {
    (revision != 0).then_some(Revision(revision))
}

fn proto_timestamp(at: impl Into<SystemTime>) -> ProtoTimestamp {
    ProtoTimestamp::from(at.into())
}

/// `None` if the duration is too long for the proto, which no setting accepts.
fn proto_duration(duration: std::time::Duration) -> Option<ProtoDuration> {
    ProtoDuration::try_from(duration).ok()
}
