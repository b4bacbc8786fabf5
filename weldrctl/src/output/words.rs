//! The API's enumerations as words: `healthy`, `connection_refused`, `weighted_round_robin`.
//!
//! JSON takes them as they are, tables with spaces. A number that this program does not know, of a newer
//! weldr, is `unknown`.

use weldr_proto::v1::{
    AdminState, Balancing, Health, HealthReason, HealthState, NodeRole, server_change::Kind,
};

const UNKNOWN: &str = "unknown";

/// A health state.
pub(crate) fn state(value: i32) -> String {
    word(
        HealthState::try_from(value).map(|state| state.as_str_name()),
        "HEALTH_STATE_",
    )
}

/// A reason of a health state.
pub(crate) fn reason(value: i32) -> String {
    word(
        HealthReason::try_from(value).map(|reason| reason.as_str_name()),
        "HEALTH_REASON_",
    )
}

/// What the operator wants of a server.
pub(crate) fn admin_state(value: i32) -> String {
    word(
        AdminState::try_from(value).map(|state| state.as_str_name()),
        "ADMIN_STATE_",
    )
}

/// How servers are chosen.
pub(crate) fn balancing(value: i32) -> String {
    word(
        Balancing::try_from(value).map(|balancing| balancing.as_str_name()),
        "BALANCING_",
    )
}

/// What a node is in its cluster.
pub(crate) fn node_role(value: i32) -> String {
    word(
        NodeRole::try_from(value).map(|role| role.as_str_name()),
        "NODE_ROLE_",
    )
}

/// What changed of a server.
pub(crate) fn change(value: i32) -> String {
    word(
        Kind::try_from(value).map(|kind| kind.as_str_name()),
        "KIND_",
    )
}

/// Why a server is in its state, for a person: the API's sentence for all but the healthy ones, whose
/// reason says it all.
pub(crate) fn because(health: &Health) -> String {
    let plain = health.state() == HealthState::Healthy || health.description.is_empty();
    if plain {
        reason(health.reason).replace('_', " ")
    } else {
        health.description.clone()
    }
}

fn word<E>(name: Result<&'static str, E>, prefix: &str) -> String {
    match name {
        Ok(name) => match name.strip_prefix(prefix) {
            Some("UNSPECIFIED") | None => UNKNOWN.to_owned(),
            Some(word) => word.to_ascii_lowercase(),
        },
        Err(_newer) => UNKNOWN.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_their_prefix() {
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
        assert_eq!(change(Kind::Removed.into()), "removed");
    }

    #[test]
    fn what_is_not_known_is_said_so() {
        assert_eq!(state(0), "unknown");
        assert_eq!(reason(4_711), "unknown");
    }

    #[test]
    fn an_unhealthy_server_explains_itself_in_the_words_of_weldr() {
        let mut health = Health {
            state: HealthState::Unhealthy.into(),
            reason: HealthReason::ConnectionRefused.into(),
            description: "connection refused (3 checks failed in a row)".to_owned(),
            since: None,
        };
        assert_eq!(because(&health), health.description);
        health.description.clear();
        assert_eq!(because(&health), "connection refused");
    }
}
