//! Rates from two samples of the statistics.

use std::collections::HashMap;

use prost_types::Timestamp;
use weldr_proto::v1::{Outcomes, ServerStats, Stats};

use crate::output::figures;

/// Rates per second between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    /// Requests of clients.
    pub(crate) client: f64,
    /// Failed requests of clients.
    pub(crate) client_failed: f64,
    /// Attempts on servers.
    pub(crate) server: f64,
    /// Failed attempts on servers.
    pub(crate) server_failed: f64,
    /// Attempts after the first one of a request.
    pub(crate) retries: f64,
    /// Bytes of bodies received from clients.
    pub(crate) bytes_received: f64,
    /// Bytes of bodies sent to clients.
    pub(crate) bytes_sent: f64,
}

/// Rates per second of one server between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ServerRates {
    /// Attempts.
    pub(crate) requests: f64,
    /// Failed attempts.
    pub(crate) failed: f64,
}

/// The rates between two samples. `None` if weldr was restarted between them, or if
/// no time passed.
pub(crate) fn between(earlier: &Stats, later: &Stats) -> Option<Rates> {
    let seconds = seconds_between(earlier, later)?;
    let per_second = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
    let (client, server) = (
        pair(earlier.client, later.client),
        pair(earlier.server, later.server),
    );
    let before = earlier.client_detail.unwrap_or_default();
    let after = later.client_detail.unwrap_or_default();
    Some(Rates {
        client: per_second(total(client.0), total(client.1)),
        client_failed: per_second(client.0.failed, client.1.failed),
        server: per_second(total(server.0), total(server.1)),
        server_failed: per_second(server.0.failed, server.1.failed),
        retries: per_second(before.retries, after.retries),
        bytes_received: per_second(before.bytes_received, after.bytes_received),
        bytes_sent: per_second(before.bytes_sent, after.bytes_sent),
    })
}

/// The rates of the servers that are in both samples, by their ids.
pub(crate) fn per_server(earlier: &Stats, later: &Stats) -> HashMap<u64, ServerRates> {
    let Some(seconds) = seconds_between(earlier, later) else {
        return HashMap::new();
    };
    let before = by_id(&earlier.servers);
    later
        .servers
        .iter()
        .filter_map(|server| {
            let (old, new) = pair(before.get(&server.id)?.outcomes, server.outcomes);
            let rates = ServerRates {
                requests: total(new).saturating_sub(total(old)) as f64 / seconds,
                failed: new.failed.saturating_sub(old.failed) as f64 / seconds,
            };
            Some((server.id, rates))
        })
        .collect()
}

/// The statistics of servers by their ids.
pub(crate) fn by_id(servers: &[ServerStats]) -> HashMap<u64, &ServerStats> {
    servers.iter().map(|server| (server.id, server)).collect()
}

fn seconds_between(earlier: &Stats, later: &Stats) -> Option<f64> {
    let passed = match (earlier.uptime, later.uptime) {
        // A run that was restarted has an uptime that begins anew.
        (Some(earlier), Some(later)) => figures::seconds(later) - figures::seconds(earlier),
        // A weldr that does not tell its uptime.
        _ if earlier.started_at != later.started_at => return None,
        _ => {
            let seconds = |at: Timestamp| at.seconds as f64 + f64::from(at.nanos) / 1e9;
            seconds(later.at?) - seconds(earlier.at?)
        }
    };
    (passed > 0.0).then_some(passed)
}

fn pair(before: Option<Outcomes>, after: Option<Outcomes>) -> (Outcomes, Outcomes) {
    (before.unwrap_or_default(), after.unwrap_or_default())
}

fn total(outcomes: Outcomes) -> u64 {
    outcomes.success.saturating_add(outcomes.failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "the figures are exact in binary")]
    #![allow(
        clippy::expect_used,
        reason = "a test may stop at what it did not expect"
    )]

    use super::*;

    fn sample(millis: i64, success: u64, failed: u64) -> Stats {
        let outcomes = Some(Outcomes { success, failed });
        Stats {
            at: Some(Timestamp {
                seconds: millis / 1_000,
                nanos: i32::try_from(millis % 1_000).unwrap_or_default() * 1_000_000,
            }),
            started_at: Some(Timestamp::default()),
            client: outcomes,
            server: outcomes,
            servers: vec![ServerStats {
                id: 7,
                outcomes,
                ..ServerStats::default()
            }],
            ..Stats::default()
        }
    }

    #[test]
    fn rates_are_per_second() {
        let (earlier, later) = (sample(1_000, 10, 0), sample(1_500, 60, 5));
        let rates = between(&earlier, &later).expect("time passed");
        assert_eq!(rates.client, 110.0);
        assert_eq!(rates.client_failed, 10.0);
        let server = per_server(&earlier, &later)[&7];
        assert_eq!(server.requests, 110.0);
        assert_eq!(server.failed, 10.0);
    }

    #[test]
    fn a_restart_and_a_repeated_sample_have_no_rate() {
        let earlier = sample(1_000, 10, 0);
        assert_eq!(between(&earlier, &earlier), None);
        let mut restarted = sample(2_000, 1, 0);
        restarted.started_at = Some(Timestamp {
            seconds: 1,
            nanos: 0,
        });
        assert_eq!(between(&earlier, &restarted), None);
        assert!(per_server(&earlier, &restarted).is_empty());
    }

    #[test]
    fn a_step_of_the_clock_changes_no_rate() {
        let up = |seconds, mut sample: Stats| {
            sample.uptime = Some(prost_types::Duration { seconds, nanos: 0 });
            sample
        };
        let earlier = up(10, sample(50_000, 10, 0));
        for at in [1_000, 51_000, 3_600_000] {
            let mut later = up(11, sample(at, 60, 0));
            later.started_at = Some(Timestamp {
                seconds: at,
                nanos: 0,
            });
            let rates = between(&earlier, &later).expect("a second passed");
            assert_eq!(rates.client, 50.0);
        }
        let restarted = up(1, sample(52_000, 60, 0));
        assert_eq!(between(&earlier, &restarted), None);
    }

    #[test]
    fn a_server_that_came_between_has_no_rate() {
        let mut earlier = sample(1_000, 10, 0);
        earlier.servers.clear();
        assert!(per_server(&earlier, &sample(2_000, 20, 0)).is_empty());
    }
}
