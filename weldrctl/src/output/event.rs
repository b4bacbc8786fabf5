//! Events, one line each.

use std::fmt::Write as _;

use prost_types::Timestamp;
use weldr_proto::v1::{PoolSettings, Server};

use super::{
    figures,
    servers::check,
    style::{Paint, Tint},
    words,
};

/// A line of `watch` about a server: time, event, address, and the present state.
pub(crate) fn server(time: Timestamp, event: &str, server: &Server, paint: Paint) -> String {
    format!(
        "{}  {event:<8}  {:<21}  {}\n",
        figures::instant(time),
        server.address,
        summary(server, paint)
    )
}

/// A line of `watch` about the settings of the pool.
pub(crate) fn settings(time: Timestamp, settings: &PoolSettings) -> String {
    format!(
        "{}  settings  balancing {}, fail open {}, drain deadline {}, deregister after {}, \
         strict responses {}, check {}\n",
        figures::instant(time),
        words::balancing(settings.balancing),
        settings.fail_open(),
        or_none(settings.drain_deadline),
        deregister_after(settings.deregister_after),
        settings.strict_responses(),
        check(settings.check.as_ref())
    )
}

/// A short description of a server: its state and the reason, and the settings that differ from the defaults.
pub(crate) fn summary(server: &Server, paint: Paint) -> String {
    let mut text = state(server, paint);
    let admin = words::admin_state(server.admin_state);
    if admin != "ready" {
        text.push_str(", admin ");
        text.push_str(&admin);
    }
    if server.weight != 1 {
        _ = write!(text, ", weight {}", server.weight);
    }
    if server.removal_deadline.is_some() {
        _ = write!(text, ", {} in flight", server.in_flight);
    }
    text
}

/// The state of a server and the reason.
pub(crate) fn state(server: &Server, paint: Paint) -> String {
    server.health.as_ref().map_or_else(
        || "unknown".to_owned(),
        |health| {
            let state = paint.text(words::state(health.state), Tint::of_state(health.state));
            format!("{state} ({})", printable(&words::because(health)))
        },
    )
}

/// `off` for 0, which turns it off.
pub(crate) fn deregister_after(duration: Option<prost_types::Duration>) -> String {
    match duration {
        Some(prost_types::Duration {
            seconds: 0,
            nanos: 0,
        })
        | None => "off".to_owned(),
        Some(duration) => figures::setting(duration),
    }
}

fn or_none(duration: Option<prost_types::Duration>) -> String {
    duration.map_or_else(|| figures::NONE.to_owned(), figures::setting)
}

/// Text from a peer, without control characters, which could change the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weldr_proto::v1::{AdminState, Balancing, Health, HealthReason, HealthState};

    use super::*;
    use crate::settings::proto_duration;

    fn a_server() -> Server {
        Server {
            address: "10.0.0.1:80".to_owned(),
            weight: 1,
            admin_state: AdminState::Ready.into(),
            health: Some(Health {
                state: HealthState::Initial.into(),
                reason: HealthReason::CheckPending.into(),
                ..Health::default()
            }),
            ..Server::default()
        }
    }

    #[test]
    fn the_usual_is_not_said() {
        assert_eq!(
            summary(&a_server(), Paint::PLAIN),
            "initial (check pending)"
        );
        let unusual = Server {
            weight: 3,
            admin_state: AdminState::Drain.into(),
            removal_deadline: Some(Timestamp::default()),
            in_flight: 2,
            ..a_server()
        };
        assert_eq!(
            summary(&unusual, Paint::PLAIN),
            "initial (check pending), admin drain, weight 3, 2 in flight"
        );
    }

    #[test]
    fn a_change_is_one_line() {
        assert_eq!(
            server(Timestamp::default(), "added", &a_server(), Paint::PLAIN),
            "1970-01-01T00:00:00.000Z  added     10.0.0.1:80            initial (check pending)\n"
        );
    }

    #[test]
    fn settings_are_one_line() {
        let pool = PoolSettings {
            balancing: Balancing::RoundRobin.into(),
            fail_open: Some(true),
            drain_deadline: Some(proto_duration(Duration::from_secs(30))),
            deregister_after: Some(proto_duration(Duration::ZERO)),
            strict_responses: Some(false),
            check: None,
            ..PoolSettings::default()
        };
        assert_eq!(
            settings(Timestamp::default(), &pool),
            "1970-01-01T00:00:00.000Z  settings  balancing round_robin, fail open true, \
             drain deadline 30s, deregister after off, strict responses false, check -\n"
        );
    }
}
