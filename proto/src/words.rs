//! The words that people read for the values of enumerations: `healthy`, `connection_refused`,
//! `weighted_round_robin`. They are the names of the values in the `.proto` files, in lower case and without the name
//! of the enumeration.
//!
//! Each function takes the number from a message. A number that this program does not know, which a newer weldr may
//! send, is `unknown`.

use crate::v1::{
    AdminState, Balancing, CertificateSource, ClientAuth, DiskState, GuardState, HealthReason,
    HealthState, InviteState, LinkState, ListenerProtocol, NodeRole, PoolProtocol, ReadinessStatus,
    Role, TlsPolicy, UnreadyCode, server_change::Kind,
};

const UNKNOWN: &str = "unknown";

/// The word for a [`HealthState`].
pub fn state(value: i32) -> String {
    word(
        HealthState::try_from(value).map(|state| state.as_str_name()),
        "HEALTH_STATE_",
    )
}

/// The word for a [`HealthReason`].
pub fn reason(value: i32) -> String {
    word(
        HealthReason::try_from(value).map(|reason| reason.as_str_name()),
        "HEALTH_REASON_",
    )
}

/// The word for an [`AdminState`].
pub fn admin_state(value: i32) -> String {
    word(
        AdminState::try_from(value).map(|state| state.as_str_name()),
        "ADMIN_STATE_",
    )
}

/// The word for a [`Balancing`].
pub fn balancing(value: i32) -> String {
    word(
        Balancing::try_from(value).map(|balancing| balancing.as_str_name()),
        "BALANCING_",
    )
}

/// The word for a [`PoolProtocol`]; `None` if it is not set, as by a node of an earlier version.
pub fn pool_protocol(value: i32) -> Option<String> {
    let protocol = PoolProtocol::try_from(value).map(|protocol| protocol.as_str_name());
    (value != 0).then(|| word(protocol, "POOL_PROTOCOL_"))
}

/// The word for a [`ListenerProtocol`]. An earlier version, which says none, has HTTP only.
pub fn listener_protocol(value: i32) -> String {
    match ListenerProtocol::try_from(value) {
        Ok(ListenerProtocol::Unspecified) => "http".to_owned(),
        protocol => word(
            protocol.map(|protocol| protocol.as_str_name()),
            "LISTENER_PROTOCOL_",
        ),
    }
}

/// The word for a [`TlsPolicy`].
pub fn tls_policy(value: i32) -> String {
    word(
        TlsPolicy::try_from(value).map(|policy| policy.as_str_name()),
        "TLS_POLICY_",
    )
}

/// The word for a [`ClientAuth`].
pub fn client_auth(value: i32) -> String {
    word(
        ClientAuth::try_from(value).map(|auth| auth.as_str_name()),
        "CLIENT_AUTH_",
    )
}

/// The word for a [`CertificateSource`].
pub fn certificate_source(value: i32) -> String {
    word(
        CertificateSource::try_from(value).map(|source| source.as_str_name()),
        "CERTIFICATE_SOURCE_",
    )
}

/// The word for a [`NodeRole`].
pub fn node_role(value: i32) -> String {
    word(
        NodeRole::try_from(value).map(|role| role.as_str_name()),
        "NODE_ROLE_",
    )
}

/// The word for a [`Role`].
pub fn role(value: i32) -> String {
    word(
        Role::try_from(value).map(|role| role.as_str_name()),
        "ROLE_",
    )
}

/// The word for a [`ReadinessStatus`].
pub fn readiness_status(value: i32) -> String {
    word(
        ReadinessStatus::try_from(value).map(|status| status.as_str_name()),
        "READINESS_STATUS_",
    )
}

/// The word for an [`UnreadyCode`].
pub fn unready_code(value: i32) -> String {
    word(
        UnreadyCode::try_from(value).map(|code| code.as_str_name()),
        "UNREADY_CODE_",
    )
}

/// The word for a [`DiskState`].
pub fn disk_state(value: i32) -> String {
    word(
        DiskState::try_from(value).map(|state| state.as_str_name()),
        "DISK_STATE_",
    )
}

/// The word for a [`GuardState`].
pub fn guard_state(value: i32) -> String {
    word(
        GuardState::try_from(value).map(|state| state.as_str_name()),
        "GUARD_STATE_",
    )
}

/// The word for a [`LinkState`].
pub fn link_state(value: i32) -> String {
    word(
        LinkState::try_from(value).map(|state| state.as_str_name()),
        "LINK_STATE_",
    )
}

/// The word for an [`InviteState`].
pub fn invite_state(value: i32) -> String {
    word(
        InviteState::try_from(value).map(|state| state.as_str_name()),
        "INVITE_STATE_",
    )
}

/// The word for the [`Kind`] of a change of a server.
pub fn change(value: i32) -> String {
    word(
        Kind::try_from(value).map(|kind| kind.as_str_name()),
        "KIND_",
    )
}

fn word<E>(name: Result<&'static str, E>, prefix: &str) -> String {
    match name.map(|name| name.strip_prefix(prefix)) {
        Ok(Some("UNSPECIFIED") | None) | Err(_) => UNKNOWN.to_owned(),
        Ok(Some(word)) => word.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_no_prefix() {
        assert_eq!(state(HealthState::Healthy.into()), "healthy");
        assert_eq!(
            reason(HealthReason::ConnectionRefused.into()),
            "connection_refused"
        );
        assert_eq!(admin_state(AdminState::Maintenance.into()), "maintenance");
        assert_eq!(
            balancing(Balancing::WeightedRoundRobin.into()),
            "weighted_round_robin"
        );
        assert_eq!(node_role(NodeRole::Leader.into()), "leader");
        assert_eq!(change(Kind::Removed.into()), "removed");
    }

    #[test]
    fn values_without_a_word_are_unknown() {
        assert_eq!(state(0), "unknown");
        assert_eq!(reason(4_711), "unknown");
    }
}
