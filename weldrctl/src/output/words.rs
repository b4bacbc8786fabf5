//! The [words](weldr_proto::words) for the values of the API's enumerations. JSON contains them as they are, tables with
//! spaces instead of underscores.

pub(crate) use weldr_proto::words::{
    admin_state, balancing, change, disk_state, node_role, reason, state,
};

use weldr_proto::v1::{Health, HealthState};

/// Why a server is in its state, for a person: the description from the API, or for a healthy server the reason, which
/// is enough.
pub(crate) fn because(health: &Health) -> String {
    let plain = health.state() == HealthState::Healthy || health.description.is_empty();
    if plain {
        reason(health.reason).replace('_', " ")
    } else {
        health.description.clone()
    }
}

#[cfg(test)]
mod tests {
    use weldr_proto::v1::HealthReason;

    use super::*;

    #[test]
    fn an_unhealthy_server_is_explained_by_its_description() {
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
