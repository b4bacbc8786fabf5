//! Servers and their health.

use std::time::SystemTime;

use weldr_proto::v1;

use crate::{
    model::{AdminState, HealthState, Invalid, PoolName, Reason, Weight},
    snapshot::ServerView,
};

use super::{check, proto_duration, proto_timestamp};

/// The weight, if one is given.
pub(in crate::management) fn weight(given: Option<u32>) -> Result<Option<Weight>, Invalid> {
    given.map(Weight::new).transpose()
}

/// The admin state, if one is given.
pub(in crate::management) fn admin_state(given: i32) -> Result<Option<AdminState>, Invalid> {
    match v1::AdminState::try_from(given) {
        Ok(v1::AdminState::Unspecified) => Ok(None),
        Ok(v1::AdminState::Ready) => Ok(Some(AdminState::Ready)),
        Ok(v1::AdminState::Drain) => Ok(Some(AdminState::Drain)),
        Ok(v1::AdminState::Maintenance) => Ok(Some(AdminState::Maintenance)),
        Err(_) => Err(Invalid::new(
            "admin_state",
            given,
            "ADMIN_STATE_READY, ADMIN_STATE_DRAIN or ADMIN_STATE_MAINTENANCE",
        )),
    }
}

/// A server as a snapshot shows it, with the number of requests that run on it.
pub(in crate::management) fn server(pool: &PoolName, view: &ServerView) -> v1::Server {
    let desired = &view.desired;
    let drain_left = view.drain_left();
    v1::Server {
        pool: pool.to_string(),
        id: desired.id.0,
        address: desired.address.to_string(),
        weight: desired.spec.weight.get(),
        admin_state: proto_admin_state(desired.spec.admin).into(),
        check: check::overrides(&desired.spec.check),
        effective_check: Some(check::full_check(&view.check)),
        health: Some(proto_health(view)),
        removal_deadline: drain_left
            .and_then(|left| SystemTime::now().checked_add(left))
            .map(proto_timestamp),
        removal_remaining: drain_left.and_then(proto_duration),
        added_at: Some(proto_timestamp(desired.added_at)),
        revision: desired.revision.0,
        in_flight: view.live.in_flight(),
    }
}

pub(super) fn proto_admin_state(state: AdminState) -> v1::AdminState {
    match state {
        AdminState::Ready => v1::AdminState::Ready,
        AdminState::Drain => v1::AdminState::Drain,
        AdminState::Maintenance => v1::AdminState::Maintenance,
    }
}

pub(super) fn proto_health(view: &ServerView) -> v1::Health {
    let health = &view.health;
    v1::Health {
        state: proto_state(health.state).into(),
        reason: proto_reason(health.reason).into(),
        description: health.description.clone(),
        since: Some(proto_timestamp(view.since())),
    }
}

fn proto_state(state: HealthState) -> v1::HealthState {
    match state {
        HealthState::Initial => v1::HealthState::Initial,
        HealthState::Healthy => v1::HealthState::Healthy,
        HealthState::Unhealthy => v1::HealthState::Unhealthy,
        HealthState::Draining => v1::HealthState::Draining,
        HealthState::Unused => v1::HealthState::Unused,
    }
}

fn proto_reason(reason: Reason) -> v1::HealthReason {
    match reason {
        Reason::ChecksPassed => v1::HealthReason::ChecksPassed,
        Reason::CheckPending => v1::HealthReason::CheckPending,
        Reason::ConnectionRefused => v1::HealthReason::ConnectionRefused,
        Reason::ConnectionClosed => v1::HealthReason::ConnectionClosed,
        Reason::Unreachable => v1::HealthReason::Unreachable,
        Reason::Timeout => v1::HealthReason::Timeout,
        Reason::ResponseCodeMismatch => v1::HealthReason::ResponseCodeMismatch,
        Reason::InvalidResponse => v1::HealthReason::InvalidResponse,
        Reason::RemovalInProgress => v1::HealthReason::RemovalInProgress,
        Reason::DrainedByOperator => v1::HealthReason::DrainedByOperator,
        Reason::InMaintenance => v1::HealthReason::InMaintenance,
        Reason::WeightZero => v1::HealthReason::WeightZero,
        Reason::OwnAddress => v1::HealthReason::OwnAddress,
        Reason::Ejected => v1::HealthReason::Ejected,
        Reason::ResponseBodyMismatch => v1::HealthReason::ResponseBodyMismatch,
        Reason::TlsFailed => v1::HealthReason::TlsFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_state_is_known_or_refused() {
        assert_eq!(admin_state(0), Ok(None));
        for state in [
            AdminState::Ready,
            AdminState::Drain,
            AdminState::Maintenance,
        ] {
            assert_eq!(
                admin_state(proto_admin_state(state).into()),
                Ok(Some(state))
            );
        }
        for unknown in [-1, 4, i32::MAX] {
            let refused = admin_state(unknown).unwrap_err();
            assert_eq!(
                (refused.field.as_str(), refused.value),
                ("admin_state", unknown.to_string())
            );
        }
    }

    #[test]
    fn a_weight_beyond_the_largest_is_refused() {
        assert_eq!(weight(None), Ok(None));
        assert_eq!(weight(Some(256)).unwrap().map(Weight::get), Some(256));
        assert_eq!(weight(Some(257)).unwrap_err().field, "weight");
    }

    /// The model and the proto use the same words: REST shows those of the proto, logs those of the model.
    #[test]
    fn states_and_reasons_have_one_name() {
        for state in [
            HealthState::Initial,
            HealthState::Healthy,
            HealthState::Unhealthy,
            HealthState::Draining,
            HealthState::Unused,
        ] {
            let name = format!("HEALTH_STATE_{}", state.as_str().to_uppercase());
            assert_eq!(proto_state(state).as_str_name(), name);
        }
        for reason in [
            Reason::ChecksPassed,
            Reason::CheckPending,
            Reason::ConnectionRefused,
            Reason::ConnectionClosed,
            Reason::Unreachable,
            Reason::Timeout,
            Reason::ResponseCodeMismatch,
            Reason::InvalidResponse,
            Reason::RemovalInProgress,
            Reason::DrainedByOperator,
            Reason::InMaintenance,
            Reason::WeightZero,
            Reason::OwnAddress,
        ] {
            let name = format!("HEALTH_REASON_{}", reason.as_str().to_uppercase());
            assert_eq!(proto_reason(reason).as_str_name(), name);
        }
    }
}
